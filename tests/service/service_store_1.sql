BEGIN TRANSACTION;
CREATE TABLE changes (
	id INTEGER NOT NULL, 
	created VARCHAR NOT NULL, 
	route VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	"by" VARCHAR NOT NULL, 
	reason VARCHAR NOT NULL, 
	"before" JSON NOT NULL, 
	"after" JSON NOT NULL, 
	evidence JSON NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "changes" VALUES(1,'2026-11-29T06:09:11.223350+00:00','game','forced','root','a test','{"route": "game", "current": "rebase", "candidate": "dora", "stage": "off", "percent": 0.0}','{"route": "game", "current": "rebase", "candidate": "dora", "stage": "shadow", "percent": 0.0}','{}');
CREATE TABLE entries (
	process VARCHAR NOT NULL, 
	number INTEGER NOT NULL, 
	created VARCHAR NOT NULL, 
	kind VARCHAR NOT NULL, 
	subject VARCHAR NOT NULL, 
	digest VARCHAR NOT NULL, 
	"before" VARCHAR NOT NULL, 
	hash VARCHAR NOT NULL, 
	PRIMARY KEY (process, number)
);
INSERT INTO "entries" VALUES('vm-12123-67e5315f',1,'2026-11-29T06:09:04.623566+00:00','start','vm-12123-67e5315f','636e3451a72d43a40d4687b85246f113728d44d73ab6bd0953e85dbde995e2c6','0000000000000000000000000000000000000000000000000000000000000000','f9327e37ff281633f03eecc46d06dd75ca56f8529ce60f9c68e809f77f275fc3');
INSERT INTO "entries" VALUES('vm-12123-67e5315f',2,'2026-11-29T06:09:10.939754+00:00','search','41de3b27925e420ba9fd0f12d58196ba','369dc88dac570eae7dd50e4333e2b4fd2f2cc279276211e7d62bc51032974f0e','f9327e37ff281633f03eecc46d06dd75ca56f8529ce60f9c68e809f77f275fc3','3dcd12c753851aca3ab99b9031c9f8a9bde50adadf6633b760a92348a939cbfe');
INSERT INTO "entries" VALUES('vm-12123-67e5315f',3,'2026-11-29T06:09:11.191062+00:00','search','8e8d40f15e524c07a9fc443232037f2f','b92750037cf456d44847638f7e6c9603bbe9eb03fcdf5ce1848b4a6cf277cd2f','3dcd12c753851aca3ab99b9031c9f8a9bde50adadf6633b760a92348a939cbfe','3c0a91079aa622104533e0a52a0855d663da4b3ec867ce8b7ad335b6e698184c');
INSERT INTO "entries" VALUES('vm-12123-67e5315f',4,'2026-11-29T06:09:11.220402+00:00','feedback','1','c995fbcc73bb300fd452ed1f65aca19e74b03e890d2dd89acb4b9eac2897b506','3c0a91079aa622104533e0a52a0855d663da4b3ec867ce8b7ad335b6e698184c','9484a8fb52989edcfc2566e97b3963263fda511159820867e67bf03bd01fec0d');
INSERT INTO "entries" VALUES('vm-12123-67e5315f',5,'2026-11-29T06:09:11.226906+00:00','stage forced','1','1ea89ea7273cd4d0c6d663fa3fe5e62694b5585469806e29e7eed513724c6254','9484a8fb52989edcfc2566e97b3963263fda511159820867e67bf03bd01fec0d','f93a7c279679a223e95b33e6b896703cfca9f052e0d6ec36113dd43ca811eba2');
CREATE TABLE events (
	search_id VARCHAR NOT NULL, 
	events JSON NOT NULL, 
	PRIMARY KEY (search_id), 
	FOREIGN KEY(search_id) REFERENCES searches (id)
);
INSERT INTO "events" VALUES('41de3b27925e420ba9fd0f12d58196ba','[{"event": "grown", "round": 0, "path": "0", "text": "3 \u00d7 4 = 12, left: 5 12\n\n", "tokens": 10, "stop": "step", "logprob": -1.2632285049110434, "reward": 0.9622089558859317, "spans": {"generating": [0.012711, 0.080282], "scoring": [0.080383, 0.11507]}}, {"event": "grown", "round": 0, "path": "1", "text": "4 \u00d7 5 = 20, left: 3 20\n\n", "tokens": 10, "stop": "step", "logprob": -0.9893127114913215, "reward": 0.9908504899976123, "spans": {"generating": [0.012711, 0.080297], "scoring": [0.080383, 0.11507]}}, {"event": "allocated", "round": 0, "width": 2, "paths": ["0", "1"], "directions": null, "rewards": [0.9622089558859317, 0.9908504899976123], "belief": {"mean": [0.9622089558859317, 0.9908504899976123], "concentration": [0.3595899556388842, 0.7064619539717986], "correlation": 1.0, "size_exponent": 0.0}, "uniqueness": null, "weights": [0.42888167652019804, 0.571118323479802], "counts": [1, 1], "evidence": null}, {"event": "grown", "round": 1, "path": "0.0", "text": "5 + 12 = 17, left: 17\n\n", "tokens": 8, "stop": "step", "logprob": -0.00043501818820794913, "reward": 0.9950932208156864, "spans": {"generating": [0.11592, 0.171954], "scoring": [0.172055, 0.189875]}}, {"event": "grown", "round": 1, "path": "1.0", "text": "20 \u2212 3 = 17, left: 17\n\n", "tokens": 8, "stop": "step", "logprob": -0.0004867467075754514, "reward": 0.9989838973035277, "spans": {"generating": [0.11592, 0.171971], "scoring": [0.172055, 0.189875]}}, {"event": "allocated", "round": 1, "width": 2, "paths": ["0.0", "1.0"], "directions": null, "rewards": [0.9950932208156864, 0.9989838973035277], "belief": {"mean": [0.9950932208156864, 0.9989838973035277], "concentration": [0.049787068367863944, 0.049787068367863944], "correlation": 1.0, "size_exponent": 0.0}, "uniqueness": null, "weights": [0.4902745355652024, 0.5097254644347976], "counts": [1, 1], "evidence": null}, {"event": "grown", "round": 2, "path": "0.0.0", "text": "Answer: \\boxed{5 + 3 \u00d7 4}", "tokens": 8, "stop": "end", "logprob": -6.149640848742147e-05, "reward": 0.9832144314138035, "spans": {"generating": [0.190733, 0.227969], "scoring": [0.228057, 0.251146]}}, {"event": "grown", "round": 2, "path": "1.0.0", "text": "Answer: \\boxed{4 \u00d7 5 \u2212 3}", "tokens": 8, "stop": "end", "logprob": -4.292389563179565e-05, "reward": 0.9988200372250912, "spans": {"generating": [0.190733, 0.227984], "scoring": [0.228057, 0.251146]}}, {"event": "finished", "round": 2, "path": "0.0.0", "stop": "end"}, {"event": "finished", "round": 2, "path": "1.0.0", "stop": "end"}]');
INSERT INTO "events" VALUES('8e8d40f15e524c07a9fc443232037f2f','[{"event": "grown", "round": 0, "path": "0", "text": "2 \u00d7 7 = 14, left: 3 14\n\n", "tokens": 10, "stop": "step", "logprob": -1.0560168030581045, "reward": 0.994292538427726, "spans": {"generating": [0.000906, 0.104869], "scoring": [0.10512, 0.120928]}}, {"event": "grown", "round": 0, "path": "1", "text": "3 + 7 = 10, left: 2 10\n\n", "tokens": 10, "stop": "step", "logprob": -1.1245224694384293, "reward": 0.00038678996677912167, "spans": {"generating": [0.000906, 0.105036], "scoring": [0.10512, 0.120928]}}, {"event": "allocated", "round": 0, "width": 2, "paths": ["0", "1"], "directions": null, "rewards": [0.994292538427726, 0.00038678996677912167], "belief": {"mean": [0.994292538427726, 0.00038678996677912167], "concentration": [0.049787068367863944, 0.41084944175994387], "correlation": 1.0, "size_exponent": 0.0}, "uniqueness": null, "weights": [0.9999517495660388, 4.82504339610889e-05], "counts": [2, 0], "evidence": null}, {"event": "grown", "round": 1, "path": "0.0", "text": "14 \u2212 3 = 13, left: 13\n\n", "tokens": 8, "stop": "step", "logprob": -0.0010336709516291216, "reward": 0.9981923397078263, "spans": {"generating": [0.122126, 0.152038], "scoring": [0.152123, 0.159979]}}, {"event": "grown", "round": 1, "path": "0.1", "text": "14 \u2212 3 = 13, left: 13\n\n", "tokens": 8, "stop": "step", "logprob": -0.0010336709516291216, "reward": 0.9981923397078263, "spans": {"generating": [0.122126, 0.152049], "scoring": [0.152123, 0.159979]}}, {"event": "allocated", "round": 1, "width": 2, "paths": ["0.0", "0.1"], "directions": null, "rewards": [0.9981923397078263, 0.9981923397078263], "belief": {"mean": [0.9981923397078263, 0.9981923397078263], "concentration": [0.05471530808177188, 0.05471530808177188], "correlation": 1.0, "size_exponent": 0.0}, "uniqueness": null, "weights": [0.5, 0.5], "counts": [1, 1], "evidence": null}, {"event": "grown", "round": 2, "path": "0.0.0", "text": "Answer: \\boxed{2 \u00d7 7 \u2212 3}", "tokens": 8, "stop": "end", "logprob": -0.00013536802012519022, "reward": 0.9992123687452843, "spans": {"generating": [0.16132, 0.179913], "scoring": [0.179987, 0.188328]}}, {"event": "grown", "round": 2, "path": "0.1.0", "text": "Answer: \\boxed{2 \u00d7 7 \u2212 3}", "tokens": 8, "stop": "end", "logprob": -0.00013536802012519022, "reward": 0.9992123687452843, "spans": {"generating": [0.16132, 0.179923], "scoring": [0.179987, 0.188328]}}, {"event": "finished", "round": 2, "path": "0.0.0", "stop": "end"}, {"event": "finished", "round": 2, "path": "0.1.0", "stop": "end"}]');
CREATE TABLE feedback (
	id INTEGER NOT NULL, 
	created VARCHAR NOT NULL, 
	search_id VARCHAR NOT NULL, 
	client VARCHAR NOT NULL, 
	"right" BOOLEAN NOT NULL, 
	gold VARCHAR, 
	PRIMARY KEY (id), 
	FOREIGN KEY(search_id) REFERENCES searches (id)
);
INSERT INTO "feedback" VALUES(1,'2026-11-29T06:09:11.219231+00:00','8e8d40f15e524c07a9fc443232037f2f','anybody',0,'13');
CREATE TABLE searches (
	id VARCHAR NOT NULL, 
	began VARCHAR NOT NULL, 
	ended VARCHAR NOT NULL, 
	client VARCHAR NOT NULL, 
	route VARCHAR NOT NULL, 
	rule VARCHAR NOT NULL, 
	stage VARCHAR NOT NULL, 
	purpose VARCHAR NOT NULL, 
	question VARCHAR NOT NULL, 
	strategy VARCHAR NOT NULL, 
	budget INTEGER NOT NULL, 
	seed INTEGER NOT NULL, 
	outcome VARCHAR NOT NULL, 
	error VARCHAR, 
	answer VARCHAR, 
	support DOUBLE NOT NULL, 
	confidence DOUBLE, 
	spent INTEGER NOT NULL, 
	saved INTEGER NOT NULL, 
	rounds INTEGER NOT NULL, 
	seconds DOUBLE NOT NULL, 
	generated INTEGER NOT NULL, 
	money DOUBLE NOT NULL, 
	beside VARCHAR, 
	agrees BOOLEAN, 
	moved DOUBLE, 
	"right" BOOLEAN, 
	config JSON NOT NULL, 
	versions JSON NOT NULL, 
	usage JSON NOT NULL, 
	text JSON, 
	text_digest VARCHAR NOT NULL, 
	events_digest VARCHAR NOT NULL, 
	PRIMARY KEY (id)
);
INSERT INTO "searches" VALUES('41de3b27925e420ba9fd0f12d58196ba','2026-11-29T06:09:10.682254+00:00','2026-11-29T06:09:10.934935+00:00','anybody','game','rebase','off','answer','8b424efe4632a12604c2f5daab8c99595b40cce86a1991729af4f6a47b85e931','rebase',2,0,'answered',NULL,'4 × 5 − 3',1.0,1.0,2,0,3,2.51779355000053328694e-01,52,0.0,NULL,NULL,NULL,1,'{"policy": "trained", "world": "countdown", "strategy": "rebase", "budget": 2, "reward": "trained", "options": {}, "belief": "auto", "directions": "hidden", "window": "whole", "vote": "verified", "votes": [], "stop_early": "lossless", "wave": null, "answer": "auto", "grader": "auto", "aggregate": "last", "constant_width": false, "seed": 0, "temperature": 0.8, "top_p": 1.0, "max_step_tokens": 256, "max_tokens": 2048, "max_steps": 40, "step_rule": null, "instruction": "system", "template": null, "shots": null, "stop": [], "concurrency": 64, "tokenizer": null, "dtype": null, "overlap": "auto"}','{"rollwise": "0.1.0", "python": "3.11.7", "numpy": "2.4.6", "scipy": "1.17.1", "pydantic": "2.14.3"}','{"policy": {"generated": 52, "prefilled": 11, "cached": 111, "calls": 3}, "reward": {"generated": 0, "prefilled": 63, "cached": 122, "calls": 3}, "embedder": {"generated": 0, "prefilled": 0, "cached": 0, "calls": 0}}','{"turns": [], "question": "Use 3, 4, 5 to make 17", "reply": "4 \u00d7 5 = 20, left: 3 20\n\n20 \u2212 3 = 17, left: 17\n\nAnswer: \\boxed{4 \u00d7 5 \u2212 3}"}','31d953f409c586bbac9b42a82d8110bb2c2156ee363d2c0285f14e33291ba935','ec3c79fcbc134262ae6c80add865a8d7fe28c621c76af21c19fb461f4c7d4c98');
INSERT INTO "searches" VALUES('8e8d40f15e524c07a9fc443232037f2f','2026-11-29T06:09:10.999413+00:00','2026-11-29T06:09:11.189007+00:00','anybody','game','rebase','off','answer','72eb39278b9263f8c8eee4a3af25c33bca7e44f119732fed6e5d41d74db8de25','rebase',2,0,'no_answer',NULL,NULL,0.0,0.0,2,0,3,1.88792354999804956605e-01,52,0.0,NULL,NULL,NULL,0,'{"policy": "trained", "world": "countdown", "strategy": "rebase", "budget": 2, "reward": "trained", "options": {}, "belief": "auto", "directions": "hidden", "window": "whole", "vote": "verified", "votes": [], "stop_early": "lossless", "wave": null, "answer": "auto", "grader": "auto", "aggregate": "last", "constant_width": false, "seed": 0, "temperature": 0.8, "top_p": 1.0, "max_step_tokens": 256, "max_tokens": 2048, "max_steps": 40, "step_rule": null, "instruction": "system", "template": null, "shots": null, "stop": [], "concurrency": 64, "tokenizer": null, "dtype": null, "overlap": "auto"}','{"rollwise": "0.1.0", "python": "3.11.7", "numpy": "2.4.6", "scipy": "1.17.1", "pydantic": "2.14.3"}','{"policy": {"generated": 52, "prefilled": 11, "cached": 111, "calls": 3}, "reward": {"generated": 0, "prefilled": 47, "cached": 138, "calls": 3}, "embedder": {"generated": 0, "prefilled": 0, "cached": 0, "calls": 0}}','{"turns": [], "question": "Use 2, 3, 7 to make 13", "reply": "2 \u00d7 7 = 14, left: 3 14\n\n14 \u2212 3 = 13, left: 13\n\nAnswer: \\boxed{2 \u00d7 7 \u2212 3}"}','15707106597aeab749f9187e1b898f1e5ed05e9b9fadb8205eaeb28d324315b1','cbec363f3fb18736d675737145e4d57210c5b89d7b5fec2c9d510ac4fa60863c');
CREATE TABLE signals (
	search_id VARCHAR NOT NULL, 
	characters INTEGER NOT NULL, 
	numbers INTEGER NOT NULL, 
	turns INTEGER NOT NULL, 
	reward DOUBLE, 
	directions DOUBLE, 
	PRIMARY KEY (search_id), 
	FOREIGN KEY(search_id) REFERENCES searches (id)
);
INSERT INTO "signals" VALUES('41de3b27925e420ba9fd0f12d58196ba',22,4,0,9.98820037225091161836e-01,NULL);
INSERT INTO "signals" VALUES('8e8d40f15e524c07a9fc443232037f2f',22,4,0,NULL,NULL);
CREATE TABLE stages (
	route VARCHAR NOT NULL, 
	current VARCHAR NOT NULL, 
	candidate VARCHAR, 
	stage VARCHAR NOT NULL, 
	percent DOUBLE NOT NULL, 
	change INTEGER NOT NULL, 
	PRIMARY KEY (route)
);
INSERT INTO "stages" VALUES('game','rebase','dora','shadow',0.0,1);
CREATE INDEX ix_searches_began ON searches (began);
CREATE INDEX by_route ON searches (route, began);
CREATE INDEX by_rule ON searches (route, purpose, rule, began);
CREATE INDEX ix_entries_subject ON entries (subject);
CREATE INDEX ix_changes_route ON changes (route);
CREATE INDEX ix_feedback_search_id ON feedback (search_id);
COMMIT;
