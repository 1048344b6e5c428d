#!/usr/bin/env node
// obd-buildd: BuildKit's daemon interface over obd's builder. Parses, wires, serves until it is told to stop.
import { createHash } from 'node:crypto';
import { hostname } from 'node:os';
import path from 'node:path';
import { Builder } from '../builder/index.js';
import { daemonServer, version } from '../control/index.js';
import { tryLockFile } from '../native/system.js';
import { parseFlags, UsageError } from './build/flag-set.js';
import { flagUsages } from './build/help.js';
import { daemonFlags } from './buildd/flags.js';
import { listen } from './buildd/listen.js';
import { openLog, type Log } from './buildd/log.js';
import { readSettings, type Settings } from './buildd/settings.js';

const FAILED = 1;
const USAGE = 2;
/** How long running builds may go on after SIGTERM, and what they leave may take. */
const stopPatienceMs = 10_000;

async function main(argv: readonly string[]): Promise<void> {
	const flags = parseFlags(daemonFlags, argv);
	if (flags.bool('help')) {
		process.stdout.write(`Usage:  obd-buildd [OPTIONS]\n\nBuild daemon that speaks BuildKit's API\n\nOptions:\n${flagUsages(daemonFlags, process.stdout.columns ?? 80)}\n`);
		return;
	}
	if (flags.bool('version')) {
		process.stdout.write(`obd-buildd ${version.package} ${version.version}\n`);
		return;
	}
	if (flags.args.length > 0) throw new UsageError(`unknown command ${JSON.stringify(flags.args[0])} for "obd-buildd"`);
	const settings = await readSettings(flags);
	const log = openLog(settings.logLevel, settings.logFormat, (line) => { process.stderr.write(line); });
	for (const note of settings.notes) log.write('warn', note);
	await run(settings, log);
}

async function run(settings: Settings, log: Log): Promise<void> {
	const { root, hosts, dns, parallelism, lazy, device } = settings;
	const stopped = stopSignal(log);
	const builder = await Builder.open({ root, insecureRegistries: [], hosts, lazy, deviceKind: device, ...(dns && { dns }), ...(parallelism !== undefined && { parallelism }) });
	try {
		const lock = await tryLockFile(path.join(root, 'buildd.lock'));
		if (!lock) throw new Error(`could not lock ${path.join(root, 'buildd.lock')}, another instance running?`);
		await serve(settings, log, builder, stopped);
		await lock.release();
	} finally {
		await builder.close(stopPatienceMs);
	}
	log.write('info', 'stopped');
}

async function serve(settings: Settings, log: Log, builder: Builder, stopped: Promise<void>): Promise<void> {
	const { root } = settings;
	const server = daemonServer({
		builder,
		workerId: createHash('sha256').update(`${hostname()} ${root}`).digest('hex').slice(0, 25),
		labels: { 'org.mobyproject.buildkit.worker.executor': 'oci', 'org.mobyproject.buildkit.worker.hostname': hostname(), 'org.mobyproject.buildkit.worker.snapshotter': 'overlaybd', ...settings.labels },
		entitlements: settings.entitlements,
		compression: settings.compression,
		transferDir: path.join(root, 'transfers'),
		historyDir: path.join(root, 'history'),
		historyLimits: settings.history,
		gcPolicies: settings.gcPolicies,
		provenanceEnv: settings.provenanceEnv,
		// A client that goes without a word is nothing an operator has to know.
		onError: (error) => { log.write('debug', error.message); },
	});
	try {
		for (const address of settings.addresses) log.write('info', `running server on ${await listen(server, address, settings)}`);
		await stopped;
	} finally {
		await server.close(stopPatienceMs);
	}
}

/** Resolves at the first SIGTERM or SIGINT; the third ends the program at once. */
function stopSignal(log: Log): Promise<void> {
	return new Promise((resolve) => {
		let count = 0;
		for (const name of ['SIGTERM', 'SIGINT'] as const) {
			process.on(name, () => {
				count++;
				if (count === 1) log.write('info', `got ${name}, stopping`);
				if (count >= 3) process.exit(FAILED);
				resolve();
			});
		}
	});
}

try {
	await main(process.argv.slice(2));
} catch (error) {
	process.stderr.write(`obd-buildd: ${(error as Error).message}\n`);
	process.exitCode = error instanceof UsageError ? USAGE : FAILED;
}
