import django.db.models.deletion
from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('mirrors', '0004_rsync_passwords'),
    ]

    operations = [
        migrations.CreateModel(
            name='HostKey',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('address', models.CharField(max_length=500)),
                ('offered', models.TextField(blank=True)),
                ('fingerprint', models.CharField(blank=True, max_length=100)),
                ('trusted', models.TextField(blank=True)),
                ('mirror', models.OneToOneField(on_delete=django.db.models.deletion.CASCADE, related_name='host_key', to='mirrors.mirror')),
            ],
        ),
    ]
