"""What gunicorn and `flask` import: the app, made once."""

from remoteweb import create_app

app = create_app()
