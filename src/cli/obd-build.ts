// obd-build: builds an image from a Dockerfile. Parses, calls the builder, prints.
import { randomBytes } from 'node:crypto';
import { rm, writeFile } from 'node:fs/promises';
import { tmpdir } from 'node:os';
import path from 'node:path';
import tty from 'node:tty';
import { formatWarnings, openOutput, openProgress, type Output, type Progress } from '../progress/index.js';
import type { BuildResult } from '../builder/index.js';
import { tagLocalCaches } from './build/cache.js';
import { callResult } from './build/call.js';
import { describeFailure, SolveFailure } from './build/failure.js';
import { buildFlags, obdFlags } from './build/flags.js';
import { parseFlags, UsageError, type ParsedFlags } from './build/flag-set.js';
import { helpText, usageHint } from './build/help.js';
import { isLoad } from './build/outputs.js';
import { prepareRequest, type PreparedRequest } from './build/request.js';
import { imageId, loadIntoDocker, writeMetadataFile } from './build/results.js';
import { lazyReadOptions } from './build/lazy.js';
import { hostSettings } from './config-file.js';
import { watchSignals, type Interruption } from './build/signals.js';
import { deviceChoice } from './device-choice.js';
import { obdVersion } from './version.js';

/** Exit codes, as docker's: 1 failed, 125 wrong usage, 130 and 143 interrupted. */
const FAILED = 1;
const USAGE = 125;
/** How long an interrupted build may go on storing finished steps. */
const interruptedPatienceMs = 1000;

async function main(argv: readonly string[], stderr: Output): Promise<number> {
	const flags = parseFlags([...buildFlags, ...obdFlags], argv);
	if (flags.bool('help')) {
		process.stdout.write(helpText(process.stdout.columns ?? 80));
		return 0;
	}
	if (flags.bool('version')) return printVersion(flags.bool('verbose'));
	const [context, ...more] = flags.args;
	if (context === undefined || more.length > 0) {
		stderr.write(`ERROR: 'obd-build' requires 1 argument\n\n${usageHint}\n`);
		return FAILED;
	}
	return run(flags, context, stderr, watchSignals());
}

async function printVersion(isVerbose: boolean): Promise<number> {
	process.stdout.write(`obd-build ${obdVersion}\n`);
	if (!isVerbose) return 0;
	const { doctor } = await import('./doctor.js');
	return (await doctor()) ? 0 : FAILED;
}

async function run(flags: ParsedFlags, context: string, stderr: Output, interruption: Interruption): Promise<number> {
	const loadPath = path.join(tmpdir(), `obd-load-${randomBytes(8).toString('hex')}.tar`);
	let prepared: PreparedRequest | undefined;
	try {
		prepared = await prepareRequest(flags, context, { env: process.env, stdin: process.stdin, stdoutIsTerminal: tty.isatty(1), loadPath, signal: interruption.signal });
		for (const warning of prepared.warnings) stderr.write(`WARNING: ${warning}\n`);
		if (flags.has('iidfile')) await rm(flags.string('iidfile'), { force: true });
		const progress = openProgress({ mode: progressMode(flags), output: stderr, fd: 2, env: process.env });
		const result = await build(flags, prepared, { progress, stderr, signal: interruption.signal });
		if (prepared.request.exports.some((request) => isLoad(request, loadPath))) await loadIntoDocker(loadPath);
		await tagLocalCaches(prepared.request.cacheExports, result.metadata['cache.manifest']);
		return await deliver(flags, prepared, result);
	} catch (error) {
		if (!interruption.signal.aborted) throw error;
		stderr.write('ERROR: failed to build: failed to solve: Canceled: context canceled\n');
		return interruption.exitCode() ?? FAILED;
	} finally {
		await Promise.all([prepared?.release(), rm(loadPath, { force: true })]);
	}
}

/** `quiet` in buildx prints the image id at the end, `none` nothing at all. */
function progressMode(flags: ParsedFlags): string {
	const mode = flags.string('progress');
	if (mode === 'none') return 'quiet';
	if (flags.bool('quiet') && mode !== 'auto' && mode !== 'quiet') throw new Error(`progress=${mode} and quiet cannot be used together`);
	return flags.bool('quiet') ? 'quiet' : mode;
}

interface Watching {
	readonly progress: Progress;
	readonly stderr: Output;
	readonly signal: AbortSignal;
}

async function build(flags: ParsedFlags, { request }: PreparedRequest, { progress, stderr, signal }: Watching): Promise<BuildResult> {
	try {
		const lazy = { ...lazyReadOptions(flags), explainReads: flags.bool('explain-reads') };
		const { hosts, device } = await hostSettings(flags.string('config'));
		const deviceKind = deviceChoice(flags.has('device') ? flags.string('device') : undefined, device);
		const { Builder } = await import('../builder/index.js');
		const builder = await Builder.open({ root: flags.string('root'), insecureRegistries: request.insecureRegistries, hosts, lazy, deviceKind });
		const close = (): Promise<void> => builder.close(signal.aborted ? interruptedPatienceMs : undefined);
		const result = await builder.build(request, signal, (status) => { progress.update(status); }).catch(async (error: unknown) => {
			await close().catch((leftover: Error) => { stderr.write(`WARNING: ${leftover.message}\n`); });
			throw new SolveFailure(error);
		});
		await close();
		return result;
	} finally {
		progress.close();
		if (progress.mode === 'plain' || progress.mode === 'tty') stderr.write(formatWarnings(progress.warnings, progress.mode === 'tty' && !process.env['NO_COLOR']));
	}
}

async function deliver(flags: ParsedFlags, { call, dockerfileName }: PreparedRequest, { metadata }: BuildResult): Promise<number> {
	const isQuiet = flags.bool('quiet') || flags.string('progress') === 'quiet';
	if (isQuiet && !call) process.stdout.write(`${imageId(metadata)}\n`);
	if (flags.has('iidfile')) await writeFile(flags.string('iidfile'), imageId(metadata), { mode: 0o644 });
	if (flags.has('metadata-file')) await writeMetadataFile(flags.string('metadata-file'), metadata, process.env['BUILDX_METADATA_PROVENANCE'] ?? 'min');
	if (!call) return 0;
	const { text, exitCode, error } = callResult(call, metadata, dockerfileName);
	process.stdout.write(text);
	if (error !== undefined) throw new Error(error);
	return exitCode;
}

async function runToExit(): Promise<void> {
	const stderr = openOutput(2);
	process.stdout.on('error', () => undefined);
	try {
		process.exitCode = await main(process.argv.slice(2), stderr);
	} catch (error) {
		const usage = error instanceof UsageError;
		stderr.write(usage ? `${error.message}\n\n${usageHint}\n` : describeFailure(error));
		process.exitCode = usage ? USAGE : FAILED;
	}
	await stderr.flush();
}

void runToExit();
