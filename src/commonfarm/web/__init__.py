"""The Django project that the hub serves: settings, addresses, base templates, components, static
files, and the `live` streams.
"""
