"""Daemons that are stopped and started under the clients of this repository: no call is lost, and none runs twice."""
