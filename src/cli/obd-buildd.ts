#!/usr/bin/env node
// obd-buildd: BuildKit's daemon interface over obd's builder. Parses, wires, serves until it is told to stop.
import path from 'node:path';
import { Builder } from '../builder/index.js';
import { daemonServer } from '../control/index.js';
import { parseFlags, UsageError } from './build/flag-set.js';
import { daemonFlags } from './buildd/flags.js';

async function main(argv: readonly string[]): Promise<number> {
	const flags = parseFlags(daemonFlags, argv);
	const root = flags.string('root');
	const builder = await Builder.open({ root, insecureRegistries: [] });
	const server = daemonServer({ builder, workerId: 'obd', labels: {}, entitlements: flags.list('allow-insecure-entitlement'), compression: flags.string('compression'), transferDir: path.join(root, 'transfers'), historyDir: path.join(root, 'history'), historyLimits: { maxAge: 48 * 3_600_000, maxEntries: 50 }, gcPolicies: [], onError: (error) => { console.error(error); } });
	for (const addr of flags.has('addr') ? flags.list('addr') : [flags.string('addr')]) {
		await server.listen({ address: { path: addr.replace(/^unix:\/\//, '') } });
	}
	await new Promise<void>((resolve) => { process.once('SIGTERM', () => { resolve(); }); process.once('SIGINT', () => { resolve(); }); });
	await server.close(1000);
	await builder.close(1000);
	return 0;
}

try {
	process.exitCode = await main(process.argv.slice(2));
} catch (error) {
	process.stderr.write(`obd-buildd: ${(error as Error).message}\n`);
	process.exitCode = error instanceof UsageError ? 2 : 1;
}
