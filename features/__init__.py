"""What stands on app.py. Each feature comes and goes by one line in wsgi.py."""
