"""What makes files: `.env`, generated docs, catalogs. The program runs without it."""
