from __future__ import annotations

from django.db import migrations, models

OF_ARTIFACTS = """
    UPDATE archive_entry SET architecture = archive_artifact.architecture
    FROM archive_artifact WHERE archive_artifact.id = archive_entry.artifact_id
"""


class Migration(migrations.Migration):
    dependencies = [
        ('archive', '0005_staged_at'),
    ]

    operations = [
        migrations.RemoveField(
            model_name='publication',
            name='manifest_base',
        ),
        migrations.AddField(
            model_name='entry',
            name='architecture',
            field=models.CharField(blank=True, max_length=20),
        ),
        migrations.RunSQL(OF_ARTIFACTS, migrations.RunSQL.noop),
    ]
