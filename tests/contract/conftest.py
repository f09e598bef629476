"""Every statement of the contract may ask for a broker of its own."""

from fixtures import broker, brokers  # noqa: F401
