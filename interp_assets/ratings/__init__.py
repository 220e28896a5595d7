"""Files of people's ratings, and rating tasks for people."""
