from django.db import migrations


class Migration(migrations.Migration):
    dependencies = [("journal", "0001_initial")]

    operations = [
        migrations.RunSQL(
            sql="""
            CREATE FUNCTION journal_refuse_change() RETURNS trigger LANGUAGE plpgsql AS $$
            BEGIN
                RAISE EXCEPTION 'the journal is append-only';
            END $$;
            CREATE TRIGGER journal_append_only
                BEFORE UPDATE OR DELETE ON journal_entry
                FOR EACH STATEMENT EXECUTE FUNCTION journal_refuse_change();
            """,
            reverse_sql="""
            DROP TRIGGER journal_append_only ON journal_entry;
            DROP FUNCTION journal_refuse_change();
            """,
        )
    ]
