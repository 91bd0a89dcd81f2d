"""What the tests across languages share: a real daemon of their own, raw connections to it, processes to wait for."""
