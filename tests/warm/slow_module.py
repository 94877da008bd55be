"""A module that a child never finishes importing."""

import time

time.sleep(600)
