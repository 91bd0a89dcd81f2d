import os

# A daemon is started only by the tests that are about that.
os.environ["BASKD_START"] = "0"
