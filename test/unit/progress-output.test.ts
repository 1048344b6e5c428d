// Output that never waits: slow readers, readers that went away.
import { spawn } from 'node:child_process';
import { closeSync, openSync, readFileSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import path from 'node:path';
import test from 'ava';
import { openOutput } from '../../src/progress/output.js';

test('a file gets everything at once', async (t) => {
	const file = path.join(tmpdir(), `obd-output-${process.pid}`);
	const fd = openSync(file, 'w');
	const output = openOutput(fd);
	output.write('one ');
	output.write(Buffer.from('two'));
	output.write('');
	await output.flush();
	t.is(output.pending, 0);
	t.is(readFileSync(file, 'utf8'), 'one two');
	closeSync(fd);
	output.write('after the end');
	await output.flush();
	t.is(output.pending, 0);
	rmSync(file);
});

const script = `
	const { openOutput } = await import(${JSON.stringify(new URL('../../src/progress/output.js', import.meta.url).href)});
	const output = openOutput(2);
	for (let i = 0; i < 4096; i++) output.write(String(i).padEnd(1023) + '\\n');
	process.stdout.write(output.pending > 0 ? 'pending\\n' : 'written\\n');
	await output.flush();
	process.stdout.write('flushed\\n');
`;
/** A program that writes 4 MB to its stderr and reports on its stdout how it went. */
const writer = [process.execPath, '--input-type=module', '-e', script];

/** Node gives its children sockets; a shell makes a pipe of stderr. */
function run(command: readonly string[]): ReturnType<typeof spawn> {
	const [program = '', ...args] = command;
	return spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
}
const throughPipe = (reader: string): readonly string[] => ['bash', '-c', `"$@" 2> >(${reader})`, 'bash', ...writer];

for (const kind of ['socket', 'pipe'] as const) {
	test(`a reader that is slow is not waited for, and gets everything (${kind})`, async (t) => {
		const child = run(kind === 'socket' ? writer : throughPipe('sleep 0.3; exec cat >&2'));
		let said = '';
		child.stdout?.on('data', (data: Buffer) => { said += data.toString(); });
		await new Promise((resolve) => child.stdout?.once('data', resolve));
		t.is(said, 'pending\n');
		let received = '';
		child.stderr?.on('data', (data: Buffer) => { received += data.toString(); });
		t.is(await new Promise((resolve) => child.once('close', resolve)), 0);
		t.is(said, 'pending\nflushed\n');
		t.is(received, Array.from({ length: 4096 }, (_, i) => `${String(i).padEnd(1023)}\n`).join(''));
	});
}

for (const kind of ['socket', 'pipe'] as const) {
	test(`a reader that goes away ends nothing (${kind})`, async (t) => {
		const child = run(kind === 'socket' ? writer : throughPipe('exec 0<&-'));
		let said = '';
		child.stdout?.on('data', (data: Buffer) => { said += data.toString(); });
		child.stderr?.destroy();
		t.is(await new Promise((resolve) => child.once('close', resolve)), 0);
		t.regex(said, /^(pending|written)\nflushed\n$/);
	});
}
