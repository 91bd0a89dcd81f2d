import os
import signal

# A daemon is started only by the tests that are about that.
os.environ["BASKD_START"] = "0"

# Whoever started this in the background may have had it ignore Ctrl-C, which tests send to themselves.
signal.signal(signal.SIGINT, signal.default_int_handler)
