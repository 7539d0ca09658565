"""What app.py stands on. Nothing here knows a page or one of app.py's four tables."""
