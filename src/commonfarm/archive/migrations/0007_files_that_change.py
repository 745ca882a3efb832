from __future__ import annotations

from django.db import migrations, models


class Migration(migrations.Migration):
    dependencies = [
        ('archive', '0006_entry_architecture'),
    ]

    operations = [
        migrations.AddIndex(
            model_name='treefile',
            index=models.Index(
                condition=models.Q(('changes', True)),
                fields=['tree', 'id'],
                name='tree_file_changing',
            ),
        ),
    ]
