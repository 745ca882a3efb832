from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('mirrors', '0006_overrides'),
    ]

    operations = [
        migrations.AddField(
            model_name='mirror',
            name='country_problem',
            field=models.TextField(blank=True, default=''),
            preserve_default=False,
        ),
    ]
