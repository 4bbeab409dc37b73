"""What FastStream's brokers are told alike: TLS, who logs in, and to keep quiet."""

import logging
import ssl

from faststream.security import BaseSecurity, SASLPlaintext, SASLScram256, SASLScram512

from hotsku.broker_url import BrokerUrl

_LIBRARIES = ("faststream", "aio_pika", "aiormq", "aiokafka", "nats")
_Login = type[SASLPlaintext] | type[SASLScram256] | type[SASLScram512]
_MECHANISMS: dict[str, _Login] = {"plain": SASLPlaintext, "scram-sha-256": SASLScram256, "scram-sha-512": SASLScram512}


def security(url: BrokerUrl) -> BaseSecurity:
    """How to log in. A password is never sent in the clear to a Kafka that was not asked to take it so.

    Raises:
        OSError: a file of the TLS connection cannot be read.
    """
    context = _context(url)
    if url.username is None:
        return BaseSecurity(ssl_context=context)
    mechanism = url.options.get("sasl", "scram-sha-512") if url.kind == "kafka" else "plain"
    return _MECHANISMS[mechanism](url.username, url.password or "", ssl_context=context)


def hush() -> None:
    """Leave it to our own log to say what goes wrong, unless the program around us has set a library's level.

    The libraries log every try to reconnect, with tracebacks, and what was cancelled because it was closed.
    """
    for name in _LIBRARIES:
        logger = logging.getLogger(name)
        if logger.level == logging.NOTSET:
            logger.setLevel(logging.CRITICAL + 1)


def _context(url: BrokerUrl) -> ssl.SSLContext | None:
    if not url.tls:
        return None
    context = ssl.create_default_context(cafile=url.options.get("ssl_ca_certs"))
    if "ssl_certfile" in url.options:
        context.load_cert_chain(url.options["ssl_certfile"], url.options["ssl_keyfile"])
    return context
