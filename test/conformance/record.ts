// Records what BuildKit makes of the cases: node dist/test/conformance/record.js --buildx PROGRAM --buildkitd ADDRESS
// [NAME-REGEXP]. The buildkitd must be one that nobody else uses (its cache is emptied for cases that repeat), started
// with --allow-insecure-entitlement for network.host and security.insecure, and with the host's network for its steps.
import { execFileSync } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import path from 'node:path';
import { parseArgs } from 'node:util';
import { caseNames, readArgs } from './case.js';
import { writeExpected } from './expected.js';
import { runCase } from './outcome.js';
import { startSurroundings } from './surroundings.js';

const { values, positionals } = parseArgs({ allowPositionals: true, options: { buildx: { type: 'string' }, buildkitd: { type: 'string' } } });
const { buildx, buildkitd } = values;
if (buildx === undefined || buildkitd === undefined) throw new Error('usage: record.js --buildx PROGRAM --buildkitd ADDRESS [NAME-REGEXP]');
const pattern = new RegExp(positionals[0] ?? '');

const surroundings = await startSurroundings();
try {
	const config = path.join(surroundings.directory, 'buildx');
	mkdirSync(config);
	const env = { ...surroundings.gitEnv, HOME: config, BUILDX_CONFIG: config, BUILDX_NO_DEFAULT_ATTESTATIONS: '1' };
	const runBuildx = (...args: readonly string[]): string => execFileSync(buildx, args, { encoding: 'utf8', env: { ...process.env, ...env } });
	runBuildx('create', '--name', 'recorder', '--driver', 'remote', buildkitd);
	const revision = /BuildKit version:\s+(\S+)/.exec(runBuildx('inspect', 'recorder'))?.[1] ?? '';
	const program = { command: [buildx, 'build', '--builder', 'recorder', '--progress', 'plain', '--policy', 'disabled=true'] as const, env };
	for (const name of caseNames().filter((name) => pattern.test(name))) {
		if ((readArgs(name).repeat ?? 1) > 1) runBuildx('prune', '--builder', 'recorder', '--all', '--force');
		try {
			const outcome = await runCase(name, { ...program, command: [...program.command] }, surroundings);
			writeExpected(name, outcome, surroundings.base, `buildkitd ${revision}`);
			console.log(`${name}: ${outcome.status}${outcome.error === undefined ? '' : ` ${outcome.error}`}`);
		} catch (error) {
			console.log(`${name}: not recorded: ${(error as Error).message}`);
			process.exitCode = 1;
		}
	}
} finally {
	await surroundings.stop();
}
