"""Runs librdkafka's mock cluster: says its address, then does what it is told on stdin, a word a line, until that ends.

Its functions are in librdkafka's `rdkafka_mock.h`; confluent-kafka brings the library.
"""

import ctypes
import sys
from pathlib import Path

import confluent_kafka  # type: ignore[import-not-found,import-untyped,unused-ignore]

_PRODUCER = 0
_BROKERS = 3
_PARTITIONS = 16


def main(topics: list[str]) -> None:
    library = _library()
    cluster = library.rd_kafka_mock_cluster_new(library.rd_kafka_new(_PRODUCER, None, None, 0), _BROKERS)
    for topic in topics:
        assert library.rd_kafka_mock_topic_create(cluster, topic.encode(), _PARTITIONS, _BROKERS) == 0
    _say(library.rd_kafka_mock_cluster_bootstraps(cluster).decode())
    for line in sys.stdin:
        word = line.strip()
        change = {"down": library.rd_kafka_mock_broker_set_down, "up": library.rd_kafka_mock_broker_set_up}[word]
        for broker in range(1, _BROKERS + 1):
            assert change(cluster, broker) == 0
        _say(word)


def _library() -> ctypes.CDLL:
    folder = Path(confluent_kafka.__file__).parent.parent / "confluent_kafka.libs"
    library = ctypes.CDLL(str(next(folder.glob("librdkafka-*.so*"))))
    pointer, number = ctypes.c_void_p, ctypes.c_int
    for name, returns, *takes in (
        ("rd_kafka_new", pointer, number, pointer, pointer, ctypes.c_size_t),
        ("rd_kafka_mock_cluster_new", pointer, pointer, number),
        ("rd_kafka_mock_cluster_bootstraps", ctypes.c_char_p, pointer),
        ("rd_kafka_mock_topic_create", number, pointer, ctypes.c_char_p, number, number),
        ("rd_kafka_mock_broker_set_down", number, pointer, ctypes.c_int32),
        ("rd_kafka_mock_broker_set_up", number, pointer, ctypes.c_int32),
    ):
        function = getattr(library, name)
        function.restype, function.argtypes = returns, takes
    return library


def _say(word: str) -> None:
    sys.stdout.write(f"{word}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main(sys.argv[1:])
