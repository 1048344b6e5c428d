// Counts calls of libc's functions in all processes, by the name of the thread that makes them: the kernel's uprobes, with
// a histogram each (Documentation/trace/uprobetracer.rst, histogram.rst).
import { execFile } from 'node:child_process';
import { appendFile, readFile, realpath } from 'node:fs/promises';
import path from 'node:path';
import { promisify } from 'node:util';
import { mount } from '../../../src/native/system.js';

const run = promisify(execFile);
const tracing = '/sys/kernel/tracing';
const group = 'obd_test';
const histogram = 'hist:keys=common_pid.execname,argument:size=8192';

/** Calls that a thread has made, of one function with one first argument. */
export interface Calls {
	readonly thread: string;
	readonly pid: number;
	readonly argument: string;
	readonly count: number;
}

export class Probes {
	private constructor(private readonly functions: readonly string[]) {}

	/** Begins to count calls of these functions. */
	static async set(functions: readonly string[]): Promise<Probes> {
		await mount('none', tracing, 'tracefs').catch(() => undefined); // it may be there
		const libc = await libcPath();
		const symbols = (await run('nm', ['--dynamic', '--defined-only', libc], { maxBuffer: 64 * 2 ** 20 })).stdout;
		for (const name of functions) {
			const address = new RegExp(`^([0-9a-f]+) [TWi] ${name}@@`, 'm').exec(symbols)?.[1];
			if (address === undefined) throw new Error(`${libc} has no ${name}`);
			await appendFile(path.join(tracing, 'uprobe_events'), `p:${group}/${name} ${libc}:0x${address} argument=%di:x64\n`);
			await appendFile(triggerOf(name), `${histogram}\n`);
		}
		return new Probes(functions);
	}

	/** Forgets what was counted. The probes stay: emulated processors trip over code that changes while it runs. */
	async clear(): Promise<void> {
		for (const name of this.functions) await appendFile(triggerOf(name), `${histogram}:clear\n`);
	}

	/** What was counted since then, of all functions together. */
	async calls(): Promise<Calls[]> {
		const found: Calls[] = [];
		for (const name of this.functions) {
			const text = await readFile(path.join(tracing, 'events', group, name, 'hist'), 'utf8');
			if (!/Dropped: 0$/m.test(text)) throw new Error(`calls of ${name} were not counted: ${text.slice(-200)}`);
			for (const [, thread = '', pid, argument = '', count] of text.matchAll(/common_pid: (\S+)\s*\[\s*(\d+)\], argument:\s*(\S+)\s*\} hitcount:\s*(\d+)/g)) {
				found.push({ thread, pid: Number(pid), argument, count: Number(count) });
			}
		}
		return found;
	}

	async remove(): Promise<void> {
		for (const name of this.functions) {
			await appendFile(triggerOf(name), `!${histogram}\n`);
			await appendFile(path.join(tracing, 'uprobe_events'), `-:${group}/${name}\n`);
		}
	}
}

const triggerOf = (name: string): string => path.join(tracing, 'events', group, name, 'trigger');

async function libcPath(): Promise<string> {
	const found = /\s(\/\S*\/libc\.so\.6)$/m.exec(await readFile('/proc/self/maps', 'utf8'))?.[1];
	if (found === undefined) throw new Error('this process has no libc.so.6');
	return realpath(found);
}
