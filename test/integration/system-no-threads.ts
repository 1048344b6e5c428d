// Works where no thread can be started, for a test that reads what it says: node system-no-threads.js CGROUP
// (of the pids controller, empty).
import { readFileSync, writeFileSync } from 'node:fs';
import { readFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { spawnProcess } from '../../src/native/runtime.js';
import { listLoopDevices } from '../../src/native/system.js';

const [cgroup = ''] = process.argv.slice(2);
const current = (): number => Number(readFileSync(path.join(cgroup, 'pids.current'), 'utf8'));
const limit = (count: number | 'max'): void => { writeFileSync(path.join(cgroup, 'pids.max'), String(count)); };
const said = (error: unknown): string => `${(error as NodeJS.ErrnoException).code}: ${(error as Error).message}`;
const children = (): string => readFileSync('/proc/self/task/' + process.pid + '/children', 'utf8');

/** Node's own threads are started when they are needed: all of them before there is a limit. */
async function startEverything(): Promise<void> {
	await Promise.all(Array.from({ length: 16 }, () => readFile('/proc/self/status')));
	await listLoopDevices();
	for (let before = 0, now = current(); before !== now; [before, now] = [now, current()]) await sleep(200);
}

function spawned(): string {
	try {
		return `pid ${spawnProcess(['/bin/sleep', '1000'], [], () => undefined, 'pipe').pid}`;
	} catch (error) {
		return said(error);
	}
}

writeFileSync(path.join(cgroup, 'cgroup.procs'), String(process.pid));
await startEverything();
limit(current());
const job = await listLoopDevices().then(() => 'done', said);
limit(current() + 1);
const child = spawned();
const left = children();
limit('max');
const after = await listLoopDevices().then(() => 'done', said);
process.stdout.write(JSON.stringify({ job, child, left, after }));
