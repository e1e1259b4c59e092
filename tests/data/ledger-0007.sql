BEGIN TRANSACTION;
CREATE TABLE alembic_version (
	version_num VARCHAR(32) NOT NULL, 
	CONSTRAINT alembic_version_pkc PRIMARY KEY (version_num)
);
INSERT INTO "alembic_version" VALUES('0007');
CREATE TABLE asked (
	shop_id VARCHAR(255) NOT NULL, 
	contact TEXT NOT NULL, 
	PRIMARY KEY (shop_id, contact)
);
CREATE TABLE calls (
	call_id INTEGER NOT NULL, 
	run_id VARCHAR(64) NOT NULL, 
	route VARCHAR(255) NOT NULL, 
	subscriber_id VARCHAR(255), 
	external_id VARCHAR(64), 
	"before" TEXT, 
	"after" TEXT, 
	started_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	outcome TEXT, 
	status_code INTEGER, 
	tries INTEGER, 
	PRIMARY KEY (call_id)
);
INSERT INTO "calls" VALUES(1,'20261101T041712Z-3b2775b5','PATCH /subscribers/{id}','s_1',NULL,'{"Segment Audiences":[]}','{"Segment Audiences":["vip"]}','2026-11-01 04:17:12.373067','2026-11-01 04:17:12.394646','ok',200,1);
INSERT INTO "calls" VALUES(2,'20261101T041712Z-3b2775b5','POST /events','s_1','771005df554bf5f0511eda1d8e59c6dc',NULL,NULL,'2026-11-01 04:17:12.440372','2026-11-01 04:17:12.448176','ok',200,1);
CREATE TABLE changes (
	run_id VARCHAR(64) NOT NULL, 
	person TEXT NOT NULL, 
	audience_key TEXT NOT NULL, 
	trait_key TEXT NOT NULL, 
	audience_id TEXT, 
	member BOOLEAN, 
	trait_value TEXT, 
	operation VARCHAR(16), 
	status VARCHAR(32) NOT NULL, 
	reason_code VARCHAR(64) NOT NULL, 
	status_message TEXT, 
	subscriber_id VARCHAR(255), 
	match_method VARCHAR(16), 
	can_send BOOLEAN, 
	email_masked TEXT, 
	phone_masked TEXT, 
	message_id TEXT, 
	timestamp BIGINT, 
	external_id VARCHAR(64), 
	PRIMARY KEY (run_id, person, audience_key, trait_key)
);
INSERT INTO "changes" VALUES('20261101T041712Z-3b2775b5','user:u1','vip','','aud_1',1,NULL,'add','added','ENTERED','','s_1','phone',NULL,NULL,'•••01','1-vip-True-2025-03-04T10:00:00Z',1741082400000000,'771005df554bf5f0511eda1d8e59c6dc');
CREATE TABLE doubted (
	shop_id VARCHAR(255) NOT NULL, 
	contact TEXT NOT NULL, 
	PRIMARY KEY (shop_id, contact)
);
CREATE TABLE held (
	shop_id VARCHAR(255) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	person TEXT NOT NULL, 
	"key" TEXT NOT NULL, 
	run_id VARCHAR(64) NOT NULL, 
	cause VARCHAR(16) NOT NULL, 
	word TEXT NOT NULL, 
	PRIMARY KEY (shop_id, kind, person, "key")
);
CREATE TABLE locks (
	shop_id VARCHAR(255) NOT NULL, 
	holder TEXT NOT NULL, 
	since DATETIME NOT NULL, 
	PRIMARY KEY (shop_id)
);
INSERT INTO "locks" VALUES('shop_1','process 1 on host','2026-11-01 04:17:12.072136');
CREATE TABLE memberships (
	shop_id VARCHAR(255) NOT NULL, 
	person TEXT NOT NULL, 
	audience_key TEXT NOT NULL, 
	audience_id TEXT, 
	member BOOLEAN NOT NULL, 
	timestamp BIGINT, 
	received_at BIGINT, 
	message_id TEXT, 
	run_id VARCHAR(64) NOT NULL, 
	PRIMARY KEY (shop_id, person, audience_key)
);
INSERT INTO "memberships" VALUES('shop_1','user:u1','vip','aud_1',1,1741082400000000,1741082400000000,'1-vip-True-2025-03-04T10:00:00Z','20261101T041712Z-3b2775b5');
INSERT INTO "memberships" VALUES('shop_1','user:u2','vip','aud_1',1,1741082400000000,1741082400000000,'2-vip-True-2025-03-04T10:00:00Z','20261101T041712Z-3b2775b5');
CREATE TABLE mirrors (
	shop_id VARCHAR(255) NOT NULL, 
	newest TEXT NOT NULL, 
	is_complete BOOLEAN NOT NULL, 
	trait_keys TEXT NOT NULL, 
	page_size INTEGER NOT NULL, 
	is_dated BOOLEAN NOT NULL, 
	read_at DATETIME NOT NULL, turn INTEGER DEFAULT '0' NOT NULL, 
	PRIMARY KEY (shop_id)
);
INSERT INTO "mirrors" VALUES('shop_1','2025-03-04T10:00:00+00:00',1,'[]',0,0,'2026-11-01 04:17:12.674140',1);
CREATE TABLE people (
	shop_id VARCHAR(255) NOT NULL, 
	person TEXT NOT NULL, 
	email TEXT, 
	email_at BIGINT, 
	phone TEXT, 
	phone_at BIGINT, 
	PRIMARY KEY (shop_id, person)
);
INSERT INTO "people" VALUES('shop_1','user:u1',NULL,NULL,'+12025550101',1741082400000000);
INSERT INTO "people" VALUES('shop_1','user:u2',NULL,NULL,'+12025550102',1741082400000000);
CREATE TABLE reached (
	shop_id VARCHAR(255) NOT NULL, 
	person TEXT NOT NULL, 
	subscriber_id VARCHAR(255) NOT NULL, 
	left_in VARCHAR(64), 
	PRIMARY KEY (shop_id, person, subscriber_id)
);
CREATE TABLE replaced (
	run_id VARCHAR(64) NOT NULL, 
	shop_id VARCHAR(255) NOT NULL, 
	person TEXT NOT NULL, 
	audience_key TEXT NOT NULL, 
	trait_key TEXT NOT NULL, 
	word TEXT NOT NULL, 
	PRIMARY KEY (run_id, shop_id, person, audience_key, trait_key)
);
CREATE TABLE runs (
	run_id VARCHAR(64) NOT NULL, 
	shop_id VARCHAR(255) NOT NULL, 
	shop_name TEXT NOT NULL, 
	mode VARCHAR(16) NOT NULL, 
	status VARCHAR(32) NOT NULL, 
	error TEXT NOT NULL, 
	received BIGINT NOT NULL, 
	facts TEXT NOT NULL, 
	started_at DATETIME NOT NULL, 
	finished_at DATETIME, 
	seconds FLOAT NOT NULL, 
	PRIMARY KEY (run_id)
);
INSERT INTO "runs" VALUES('20261101T041712Z-3b2775b5','shop_1','Acme Socks','live','completed','',2,'{"parameters": {}, "planned_calls": 3, "planned_calls_by_kind": {"reads": 0, "reads_again": 1, "writes": 1, "custom_events": 1}, "planned_minutes": null, "official_calls_by_kind": null, "calls": {"GET /subscribers/{id}": 1, "PATCH /subscribers/{id}": 1, "POST /events": 1}, "custom_events": "transitions", "removal_share": 0.0, "max_removal_share": 1.0, "kind": "sync", "custom_events_closed": 0, "stopped_by": "", "events": {"posted": 1, "unknown": 0, "refused": 0, "obsolete": 0}, "read_again": false, "notes": [], "members": {"vip": 2}, "dated_ahead": 0}','2026-11-01 04:17:12.099057','2026-11-01 04:17:12.585581',4.86513618001481518149e-01);
CREATE TABLE "subscribers" (
	shop_id VARCHAR(255) NOT NULL, 
	subscriber_id VARCHAR(255) NOT NULL, 
	phone_digits TEXT, 
	email_folded TEXT, 
	audiences TEXT, 
	has_property BOOLEAN NOT NULL, 
	property_count INTEGER NOT NULL, 
	can_send BOOLEAN, 
	updated_at TEXT, 
	properties TEXT, 
	PRIMARY KEY (shop_id, subscriber_id)
);
INSERT INTO "subscribers" VALUES('shop_1','s_1','12025550101','u1@mail.test','["vip"]',1,2,NULL,'2025-03-04T10:00:00Z',NULL);
CREATE TABLE totals (
	run_id VARCHAR(64) NOT NULL, 
	kind VARCHAR(16) NOT NULL, 
	audience_key TEXT NOT NULL, 
	trait_key TEXT NOT NULL, 
	status VARCHAR(32) NOT NULL, 
	reason_code VARCHAR(64) NOT NULL, 
	count BIGINT NOT NULL, 
	PRIMARY KEY (run_id, kind, audience_key, trait_key, status, reason_code)
);
INSERT INTO "totals" VALUES('20261101T041712Z-3b2775b5','event','vip','','counted','DECIDED',2);
INSERT INTO "totals" VALUES('20261101T041712Z-3b2775b5','change','vip','','added','ENTERED',1);
INSERT INTO "totals" VALUES('20261101T041712Z-3b2775b5','change','vip','','waiting','SUBSCRIBER_NOT_FOUND',1);
CREATE TABLE traits (
	shop_id VARCHAR(255) NOT NULL, 
	person TEXT NOT NULL, 
	trait_key TEXT NOT NULL, 
	value TEXT NOT NULL, 
	timestamp BIGINT, 
	received_at BIGINT, 
	message_id TEXT, 
	run_id VARCHAR(64) NOT NULL, 
	PRIMARY KEY (shop_id, person, trait_key)
);
CREATE TABLE transitions (
	external_id VARCHAR(64) NOT NULL, 
	shop_id VARCHAR(255) NOT NULL, 
	run_id VARCHAR(64) NOT NULL, 
	subscriber_id VARCHAR(255) NOT NULL, 
	audience_key TEXT NOT NULL, 
	audience_id TEXT, 
	entered BOOLEAN NOT NULL, 
	state VARCHAR(16) NOT NULL, 
	changed_at DATETIME NOT NULL, planned_at DATETIME, 
	PRIMARY KEY (external_id)
);
INSERT INTO "transitions" VALUES('771005df554bf5f0511eda1d8e59c6dc','shop_1','20261101T041712Z-3b2775b5','s_1','vip','aud_1',1,'sent','2026-11-01 04:17:12.448370','2026-11-01 04:17:12.365047');
CREATE INDEX ix_calls_run_id ON calls (run_id);
CREATE INDEX ix_runs_started_at ON runs (started_at);
CREATE INDEX ix_transitions_open ON transitions (shop_id, state);
CREATE INDEX ix_calls_open ON calls (run_id) WHERE finished_at IS NULL;
CREATE INDEX ix_transitions_subscriber ON transitions (subscriber_id);
COMMIT;
