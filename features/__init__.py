"""What is built on app.py. Each feature comes and goes by one line in wsgi.py."""
