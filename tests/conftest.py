"""What all tests start from."""

import signal

# Shells ignore interrupts in what they start in the background, and children inherit that; some tests send them.
signal.signal(signal.SIGINT, signal.default_int_handler)
