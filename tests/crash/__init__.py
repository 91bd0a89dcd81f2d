"""100 times kill -9 of Python under the load of four clients."""
