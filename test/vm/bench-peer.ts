// The real overlaybd-tcmu as a device of the benchmark: set up as its documentation says, read-only, on the same
// layers.
import { execFile, spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdir, readdir, readFile, rmdir, symlink, unlink, writeFile } from 'node:fs/promises';
import path from 'node:path';
import { setTimeout as sleep } from 'node:timers/promises';
import { promisify } from 'node:util';
import type { Target } from './bench.js';

const run = promisify(execFile);
const program = 'overlaybd-tcmu';
const settings = '/etc/overlaybd/overlaybd.json';
const target = '/sys/kernel/config/target';
const backstore = `${target}/core/user_999999/peer`;
const fabric = `${target}/loopback/naa.5001405999999999`;
const lun = `${fabric}/tpgt_1/lun/lun_0`;

/** Waits up to 30 s for something that is not there yet. */
async function awaited<T>(what: string, look: () => Promise<T | undefined>): Promise<T> {
	for (let round = 0; round < 300; round++) {
		const found = await look();
		if (found !== undefined) return found;
		await sleep(100);
	}
	throw new Error(`${program}: ${what} did not come`);
}

/** Undefined when the program is not on the PATH. `layers`: sealed blobs, bottom first. */
export async function overlaybdTarget(layers: readonly string[], directory: string): Promise<Target | undefined> {
	const found = await run('which', [program]).then(({ stdout }) => stdout.trim(), () => undefined);
	if (found === undefined) return undefined;
	const place = path.join(directory, program);
	await mkdir(place);
	await mkdir(path.dirname(settings), { recursive: true });
	const off = { enable: false };
	await writeFile(settings, JSON.stringify({
		logConfig: { logLevel: 3, logPath: path.join(place, 'log') },
		cacheConfig: { cacheType: 'file', cacheDir: path.join(place, 'cache'), cacheSizeGB: 1 },
		gzipCacheConfig: { enable: false, cacheDir: path.join(place, 'gzip'), cacheSizeGB: 1 },
		credentialConfig: { mode: 'file', path: path.join(place, 'cred.json') },
		ioEngine: 0, download: off, p2pConfig: off, exporterConfig: off, serviceConfig: off, enableAudit: false, auditPath: path.join(place, 'audit'),
	}));
	await writeFile(path.join(place, 'cred.json'), '{"auths":{}}');
	const result = path.join(place, 'result'), image = path.join(place, 'config.v1.json');
	await writeFile(image, JSON.stringify({ repoBlobUrl: '', lowers: layers.map((file) => ({ file })), resultFile: result }));

	const server = spawn(found, { stdio: 'ignore', cwd: place });
	await sleep(3000); // until it listens for new backstores; nothing tells
	await mkdir(backstore, { recursive: true });
	await writeFile(`${backstore}/control`, `dev_config=overlaybd/${image}`);
	await writeFile(`${backstore}/enable`, '1');
	await awaited(`the disk of ${image}`, () => readFile(result, 'utf8').then((text) => (text.trim() === 'success' ? true : undefined), () => undefined));
	await mkdir(lun, { recursive: true });
	await writeFile(`${fabric}/tpgt_1/nexus`, 'naa.5001405999999998');
	await symlink(backstore, `${lun}/peer`);
	const address = (await readFile(`${fabric}/tpgt_1/address`, 'utf8')).trim();
	const disk = await awaited('the SCSI disk', () => readdir(`/sys/bus/scsi/devices/${address}:0/block`).then((names) => names[0], () => undefined));
	await awaited('its node', () => readFile(`/sys/block/${disk}/dev`, 'utf8').catch(() => undefined));
	await writeFile(`/sys/block/${disk}/queue/scheduler`, 'none'); // as for ours
	return {
		name: 'overlaybd',
		path: `/dev/${disk}`,
		writable: false,
		pid: server.pid ?? 0,
		close: async () => {
			await unlink(`${lun}/peer`);
			for (const each of [lun, `${fabric}/tpgt_1`, fabric, backstore, path.dirname(backstore)]) await rmdir(each);
			const ended = once(server, 'exit');
			server.kill('SIGKILL');
			await ended;
		},
	};
}
