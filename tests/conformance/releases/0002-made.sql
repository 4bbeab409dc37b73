BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0002');
CREATE TABLE archived_deductions (
	item_id BIGINT NOT NULL, 
	partition INTEGER NOT NULL, 
	incarnation INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	buyer_id VARCHAR(64) NOT NULL, 
	order_id VARCHAR(64) NOT NULL, 
	quantity BIGINT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	attempt INTEGER DEFAULT '1' NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_archived_deductions PRIMARY KEY (item_id, partition, incarnation, seq), 
	CONSTRAINT uq_archived_deductions_item_id_buyer_id_order_id UNIQUE (item_id, buyer_id, order_id), 
	CONSTRAINT ck_archived_deductions_quantity CHECK (quantity >= 1 AND quantity <= 1000000000)
)
 WITHOUT ROWID

;
CREATE TABLE archived_steps (
	item_id BIGINT NOT NULL, 
	partition INTEGER NOT NULL, 
	incarnation INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	buyer_id VARCHAR(64) NOT NULL, 
	order_id VARCHAR(64) NOT NULL, 
	quantity BIGINT NOT NULL, 
	at BIGINT NOT NULL, 
	CONSTRAINT pk_archived_steps PRIMARY KEY (item_id, partition, incarnation, seq), 
	CONSTRAINT ck_archived_steps_quantity CHECK (quantity >= 1 AND quantity <= 1000000000)
)
 WITHOUT ROWID

;
CREATE TABLE deductions (
	item_id BIGINT NOT NULL, 
	partition INTEGER NOT NULL, 
	incarnation INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	buyer_id VARCHAR(64) NOT NULL, 
	order_id VARCHAR(64) NOT NULL, 
	quantity BIGINT NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	attempt INTEGER DEFAULT '1' NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_deductions PRIMARY KEY (item_id, partition, incarnation, seq), 
	CONSTRAINT uq_deductions_item_id_buyer_id_order_id UNIQUE (item_id, buyer_id, order_id), 
	CONSTRAINT ck_deductions_quantity CHECK (quantity >= 1 AND quantity <= 1000000000)
)
 WITHOUT ROWID

;
INSERT INTO "deductions" VALUES(1,0,1,1,'ann','o-1',2,'confirmed',1,1700000000000);
INSERT INTO "deductions" VALUES(1,0,1,2,'','o-2',1,'confirmed',1,1700000000000);
INSERT INTO "deductions" VALUES(1,0,1,4,'bob','o-3',2,'confirmed',1,1700000000000);
INSERT INTO "deductions" VALUES(1,1,1,2,'','p-1',1,'confirmed',1,1700000000000);
CREATE TABLE items (
	id INTEGER NOT NULL, 
	sku VARCHAR(64) NOT NULL, 
	total BIGINT NOT NULL, 
	pool BIGINT NOT NULL, 
	partitions INTEGER NOT NULL, 
	limit_per_buyer BIGINT, 
	opens_at BIGINT, 
	closes_at BIGINT, 
	hold_ttl_ms BIGINT NOT NULL, 
	routing VARCHAR(16) NOT NULL, 
	refund_restores_limit BOOLEAN NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	created_at BIGINT NOT NULL, archived_at BIGINT, 
	CONSTRAINT pk_items PRIMARY KEY (id), 
	CONSTRAINT uq_items_sku UNIQUE (sku), 
	CONSTRAINT ck_items_pool CHECK (pool >= 0 AND pool <= total)
);
INSERT INTO "items" VALUES(1,'before',200,121,2,5,NULL,NULL,900000,'sticky',0,'open',1700000000000,NULL);
CREATE TABLE leases (
	item_id BIGINT NOT NULL, 
	partition INTEGER NOT NULL, 
	incarnation INTEGER NOT NULL, 
	no BIGINT NOT NULL, 
	quantity BIGINT NOT NULL, 
	created_at BIGINT NOT NULL, 
	CONSTRAINT pk_leases PRIMARY KEY (item_id, partition, incarnation, no), 
	CONSTRAINT fk_leases_partitions FOREIGN KEY(item_id, partition, incarnation) REFERENCES partitions (item_id, partition, incarnation), 
	CONSTRAINT ck_leases_positive CHECK (no > 0 AND quantity > 0)
)
 WITHOUT ROWID

;
INSERT INTO "leases" VALUES(1,0,1,1,50,1700000000000);
INSERT INTO "leases" VALUES(1,0,1,2,10,1700000000000);
INSERT INTO "leases" VALUES(1,1,1,1,20,1700000000000);
INSERT INTO "leases" VALUES(1,1,1,2,5,1700000000000);
CREATE TABLE ledger (
	id INTEGER NOT NULL, 
	ledger_id VARCHAR(12) NOT NULL, 
	created_at BIGINT NOT NULL, contracted VARCHAR(32) DEFAULT '0000' NOT NULL, 
	CONSTRAINT pk_ledger PRIMARY KEY (id), 
	CONSTRAINT ck_ledger_one_row CHECK (id = 1)
);
INSERT INTO "ledger" VALUES(1,'00112233aa',1700000000000,'0000');
CREATE TABLE parked (
	id INTEGER NOT NULL, 
	item_id BIGINT, 
	partition INTEGER, 
	incarnation INTEGER, 
	seq BIGINT, 
	reason VARCHAR(200) NOT NULL, 
	body BLOB NOT NULL, 
	digest VARCHAR(64) NOT NULL, 
	at BIGINT NOT NULL, 
	resolved_at BIGINT, 
	CONSTRAINT pk_parked PRIMARY KEY (id), 
	CONSTRAINT uq_parked_digest UNIQUE (digest)
);
INSERT INTO "parked" VALUES(1,1,1,1,3,'order_id must be 1 to 64 characters of A-Z a-z 0-9 . _ : @ + = -, not ''not an id''',X'7B22736571223A332C226B696E64223A226465647563746564222C227175616E74697479223A312C226174223A313730303030303030303030302C226F726465725F6964223A226E6F7420616E206964222C2262757965725F6964223A22227D','ac954c37675a987c078a057def469f4f0a80da0e337970135ff6ada7e2906373',1700000000000,NULL);
CREATE TABLE "partitions" (
	id INTEGER NOT NULL, 
	item_id BIGINT NOT NULL, 
	partition INTEGER NOT NULL, 
	incarnation INTEGER NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	reason VARCHAR(200), 
	durability VARCHAR(16) NOT NULL, 
	lease_no BIGINT NOT NULL, 
	granted BIGINT NOT NULL, 
	applied BIGINT NOT NULL, 
	returned BIGINT NOT NULL, 
	watermark BIGINT NOT NULL, 
	final_seq BIGINT, 
	quarantined_until BIGINT, 
	CONSTRAINT pk_partitions PRIMARY KEY (id), 
	CONSTRAINT uq_partitions_item_id_partition_incarnation UNIQUE (item_id, partition, incarnation), 
	CONSTRAINT fk_partitions_items FOREIGN KEY(item_id) REFERENCES items (id), 
	CONSTRAINT ck_partitions_state CHECK (state IN ('new', 'open', 'fenced', 'rebuilding', 'closed')), 
	CONSTRAINT ck_partitions_not_negative CHECK (lease_no >= 0 AND granted >= 0 AND applied >= 0 AND returned >= 0 AND watermark >= 0), 
	CONSTRAINT ck_partitions_preallocated CHECK (granted >= applied + returned), 
	CONSTRAINT ck_partitions_closed CHECK ((state <> 'closed' AND final_seq IS NULL AND quarantined_until IS NULL) OR (state = 'closed' AND final_seq IS NOT NULL AND watermark = final_seq AND (quarantined_until IS NOT NULL OR granted = applied + returned)))
);
INSERT INTO "partitions" VALUES(1,1,0,1,'open',NULL,'durable',2,60,5,4,4,NULL,NULL);
INSERT INTO "partitions" VALUES(2,1,1,1,'fenced','lost its memory','fast',2,25,2,2,3,NULL,NULL);
CREATE TABLE steps (
	item_id BIGINT NOT NULL, 
	partition INTEGER NOT NULL, 
	incarnation INTEGER NOT NULL, 
	seq BIGINT NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	buyer_id VARCHAR(64) NOT NULL, 
	order_id VARCHAR(64) NOT NULL, 
	quantity BIGINT NOT NULL, 
	at BIGINT NOT NULL, 
	CONSTRAINT pk_steps PRIMARY KEY (item_id, partition, incarnation, seq), 
	CONSTRAINT ck_steps_quantity CHECK (quantity >= 1 AND quantity <= 1000000000)
)
 WITHOUT ROWID

;
INSERT INTO "steps" VALUES(1,0,1,3,'returned','','',4,1700000000000);
INSERT INTO "steps" VALUES(1,1,1,1,'returned','ann','o-1',2,1700000000000);
CREATE INDEX ix_parked_item_id_partition_incarnation ON parked (item_id, partition, incarnation);
CREATE VIEW events AS
SELECT d.item_id, d.partition, d.incarnation, d.seq, 'deducted' AS kind, d.buyer_id, d.order_id, d.quantity,
       d.created_at AS at
FROM deductions AS d
UNION ALL
SELECT s.item_id, s.partition, s.incarnation, s.seq, s.kind, s.buyer_id, s.order_id, s.quantity, s.at
FROM steps AS s
UNION ALL
SELECT d.item_id, d.partition, d.incarnation, d.seq, 'deducted' AS kind, d.buyer_id, d.order_id, d.quantity,
       d.created_at AS at
FROM archived_deductions AS d
UNION ALL
SELECT s.item_id, s.partition, s.incarnation, s.seq, s.kind, s.buyer_id, s.order_id, s.quantity, s.at
FROM archived_steps AS s;
COMMIT;
