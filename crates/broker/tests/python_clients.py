"""Tries a broker with the two Python clients: each makes a topic, produces, consumes in a group and commits.

    python3 -m venv venv && venv/bin/pip install kafka-python confluent-kafka
    cargo run -p yibiao-broker --example serve -- --dir /tmp/broker --listen 127.0.0.1:9092
    venv/bin/python crates/broker/tests/python_clients.py 127.0.0.1:9092

Ends with status 1 and says what differed if anything does.
"""

import sys
import time
import uuid

RECORDS = 1_000
CODECS = [None, "gzip"]


def expect(what, got, expected):
    if got != expected:
        sys.exit(f"{what}: got {got!r}, expected {expected!r}")


def try_kafka_python(bootstrap):
    from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
    from kafka.admin import NewTopic
    from kafka.errors import TopicAlreadyExistsError

    topic, group = f"kp-{uuid.uuid4()}", f"kp-{uuid.uuid4()}"
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)
    admin.create_topics([NewTopic(topic, 2, 1, topic_configs={"retention.ms": "3600000"})])
    try:
        admin.create_topics([NewTopic(topic, 2, 1)])
        sys.exit("a topic was made twice")
    except TopicAlreadyExistsError:
        pass

    for codec in CODECS:
        producer = KafkaProducer(bootstrap_servers=bootstrap, acks="all", compression_type=codec)
        for i in range(RECORDS // len(CODECS)):
            headers = [("来源", "民政".encode())]
            producer.send(topic, key=str(i).encode(), value=f"记录 {i}".encode(), headers=headers)
        producer.flush()
        producer.close()

    def read(count):
        consumer = KafkaConsumer(topic, bootstrap_servers=bootstrap, group_id=group, auto_offset_reset="earliest",
                                 enable_auto_commit=False, consumer_timeout_ms=15_000)
        read = []
        for record in consumer:
            read.append(record)
            if len(read) == count:
                break
        consumer.commit()
        consumer.close()
        return read

    records = read(RECORDS)
    expect("kafka-python: records", len(records), RECORDS)
    expect("kafka-python: header", records[0].headers, [("来源", "民政".encode())])

    producer = KafkaProducer(bootstrap_servers=bootstrap)
    producer.send(topic, value=b"later").get(timeout=10)
    expect("kafka-python: the group goes on where it was", [r.value for r in read(1)], [b"later"])

    consumer = KafkaConsumer(bootstrap_servers=bootstrap)
    partitions = [TopicPartition(topic, p) for p in range(2)]
    ends = consumer.end_offsets(partitions)
    expect("kafka-python: end offsets", sum(ends.values()), RECORDS + 1)
    expect("kafka-python: beginning", set(consumer.beginning_offsets(partitions).values()), {0})
    consumer.close()
    admin.delete_topics([topic])


def try_confluent_kafka(bootstrap):
    from confluent_kafka import Consumer, KafkaException, Producer, TopicPartition
    from confluent_kafka.admin import AdminClient, ConfigResource, NewTopic

    topic, group = f"ck-{uuid.uuid4()}", f"ck-{uuid.uuid4()}"
    admin = AdminClient({"bootstrap.servers": bootstrap})
    admin.create_topics([NewTopic(topic, 2, 1, config={"cleanup.policy": "compact"})])[topic].result(10)
    try:
        admin.create_topics([NewTopic(topic, 2, 1)])[topic].result(10)
        sys.exit("a topic was made twice")
    except KafkaException as error:
        expect("confluent-kafka: error", error.args[0].name(), "TOPIC_ALREADY_EXISTS")
    resource = ConfigResource(ConfigResource.Type.TOPIC, topic)
    described = admin.describe_configs([resource])[resource].result(10)
    expect("confluent-kafka: setting", described["cleanup.policy"].value, "compact")

    failed = []
    producer = Producer({"bootstrap.servers": bootstrap, "enable.idempotence": True, "compression.type": "zstd"})
    for i in range(RECORDS):
        producer.produce(topic, key=str(i), value=f"记录 {i}", on_delivery=lambda e, _: e and failed.append(e))
    producer.flush(20)
    expect("confluent-kafka: failed deliveries", failed, [])

    def read(count):
        consumer = Consumer({"bootstrap.servers": bootstrap, "group.id": group, "auto.offset.reset": "earliest",
                             "enable.auto.commit": False, "partition.assignment.strategy": "cooperative-sticky"})
        consumer.subscribe([topic])
        read, until = [], time.monotonic() + 20
        while len(read) < count and time.monotonic() < until:
            message = consumer.poll(0.2)
            if message is not None and message.error() is None:
                read.append(message)
        consumer.commit(asynchronous=False)
        consumer.close()
        return read

    messages = read(RECORDS)
    expect("confluent-kafka: records", sorted(int(m.key()) for m in messages), list(range(RECORDS)))

    transactional = Producer({"bootstrap.servers": bootstrap, "transactional.id": topic})
    transactional.init_transactions(10)
    for value, commit in [("aborted", False), ("committed", True)]:
        transactional.begin_transaction()
        transactional.produce(topic, key="t", value=value)
        transactional.flush(10)
        transactional.commit_transaction(10) if commit else transactional.abort_transaction(10)
    expect("confluent-kafka: committed", [m.value() for m in read(1)], [b"committed"])

    listed = admin.list_consumer_groups().result(10).valid
    expect("confluent-kafka: group listed", group in {g.group_id for g in listed}, True)
    described = admin.describe_consumer_groups([group])[group].result(10)
    expect("confluent-kafka: group state", described.state.name, "EMPTY")
    partitions = [TopicPartition(topic, p) for p in range(2)]
    committed = Consumer({"bootstrap.servers": bootstrap, "group.id": group}).committed(partitions, 10)
    expect("confluent-kafka: offsets committed", all(p.offset > 0 for p in committed), True)
    admin.delete_topics([topic])[topic].result(10)


if __name__ == "__main__":
    address = sys.argv[1] if len(sys.argv) > 1 else "127.0.0.1:9092"
    for trial in (try_kafka_python, try_confluent_kafka):
        started = time.monotonic()
        trial(address)
        print(f"{trial.__name__}: passed in {time.monotonic() - started:.1f} s")
