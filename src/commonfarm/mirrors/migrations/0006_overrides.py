from django.db import migrations, models


class Migration(migrations.Migration):

    dependencies = [
        ('mirrors', '0005_host_keys'),
    ]

    operations = [
        migrations.CreateModel(
            name='Override',
            fields=[
                ('id', models.BigAutoField(auto_created=True, primary_key=True, serialize=False, verbose_name='ID')),
                ('network', models.CharField(max_length=43, unique=True)),
                ('country', models.CharField(blank=True, max_length=2)),
                ('origin', models.BooleanField(default=False)),
                ('why', models.TextField()),
                ('added_by', models.CharField(max_length=200)),
                ('added_at', models.DateTimeField()),
                ('mirrors', models.ManyToManyField(blank=True, related_name='overrides', to='mirrors.mirror')),
            ],
        ),
    ]
