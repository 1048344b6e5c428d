// System calls of a device server that fail, or hang, by strace.
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { serverProcesses, type Place } from '../../integration/helpers/device.js';

/** Which of the calls fail, as strace has it: `3`, or `3+` for all from there on. They are counted by thread. */
export interface Fault {
	readonly call: string;
	readonly when: string;
	/** Milliseconds that they hang instead of failing. */
	readonly hangs?: number;
}

/** How `body` ended, and the calls that failed or hung meanwhile. */
export async function withFault(place: Place, { call, when, hangs }: Fault, body: () => Promise<void>): Promise<{ readonly failed: string[]; readonly error: string | undefined }> {
	const [pid = ''] = await serverProcesses(place);
	const log = path.join(place.root, 'strace');
	const strace = spawn('strace', ['-f', '-p', pid, '-o', log, '-e', `trace=${call}`, '-e', 'signal=none', '-e', `inject=${call}:${hangs === undefined ? 'error=EIO' : `delay_enter=${hangs * 1000}`}:when=${when}`], { stdio: ['ignore', 'ignore', 'pipe'] });
	const ended = once(strace, 'exit');
	await once(strace.stderr, 'data'); // it has attached itself
	const error = await body().then(() => undefined, (failure: unknown) => (failure as Error).message);
	strace.kill('SIGINT'); // it has ended already when the server has
	await ended;
	const lines = (await readFile(log, 'utf8')).split('\n');
	return { failed: lines.filter((line) => /\((INJECTED|DELAYED)\)/.test(line)), error };
}
