"""What app.py is built on. Nothing here imports app.py or queries its tables."""
