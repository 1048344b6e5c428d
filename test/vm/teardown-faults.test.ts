// Taking a device away fails at any step of it, or hangs: the caller is told which, and what stays goes with the
// next try, or else with the server.
import test from 'ava';
import { buildMountOptions, makeFileSystem, startDeviceServer, type Device, type DeviceKind, type DeviceServer } from '../../src/device/index.js';
import { mount } from '../../src/native/system.js';
import { makePlace, removePlace, serverProcesses, type Place } from '../integration/helpers/device.js';
import { withFault } from './helpers/faults.js';
import { allLeftovers, kernelObjects, lastingKinds } from './helpers/kernel.js';

const diskBytes = 64 * 2 ** 20;

interface Step {
	readonly call: string;
	readonly nth: number;
	/** What the error says. */
	readonly error: RegExp;
}

/** The calls of a detach. A target is looked for under eight names, of which the device has the first. */
const steps: Readonly<Record<DeviceKind, readonly Step[]>> = {
	tcmu: [
		{ call: 'unlink', nth: 1, error: /unlink .*lun_0\/obd-/ },
		{ call: 'rmdir', nth: 1, error: /rmdir .*\/lun_0\b/ },
		{ call: 'rmdir', nth: 2, error: /rmdir .*\/tpgt_1\b/ },
		{ call: 'rmdir', nth: 3, error: /rmdir .*\/naa\.\w+/ },
		{ call: 'rmdir', nth: 25, error: /rmdir .*\/obd-/ },
		{ call: 'rmdir', nth: 26, error: /rmdir .*\/user_/ },
	],
	// STOP and DEL have a ring each.
	ublk: [
		{ call: 'io_uring_setup', nth: 1, error: /stop ublk device \d+/ },
		{ call: 'io_uring_setup', nth: 2, error: /delete ublk device \d+/ },
	],
	fuse: [],
};

/** A step that hangs is named like one that fails. */
const hangingStep = (failing: RegExp): RegExp => new RegExp(failing.source.replace(/^stop /, 'stopping ').replace(/^delete /, 'deleting '));

/** Stops the place's device server; its number. */
async function stopServer(place: Place): Promise<number> {
	const [pid = ''] = await serverProcesses(place);
	process.kill(Number(pid), 'SIGSTOP');
	return Number(pid);
}

const attach = (server: DeviceServer): Promise<Device> => server.attach({ lowers: [], writable: true, virtualSize: diskBytes });

for (const kind of lastingKinds) {
	test(`${kind}: a detach that fails says where, and works the next time`, async (t) => {
		const place = await makePlace(kind);
		const server = await startDeviceServer(place);
		for (const { call, nth, error: expected } of steps[kind]) {
			const device = await attach(server);
			const { failed, error } = await withFault(place, { call, when: String(nth) }, () => device.detach());
			t.true(failed.length > 0, `${call} ${nth} was never called`);
			t.regex(error ?? '', expected, failed.join(', '));
			await t.notThrowsAsync(device.detach(), failed.join(', '));
			t.deepEqual(await kernelObjects(), [], failed.join(', '));
		}
		await server.close();
		t.deepEqual(await allLeftovers(place), []);
		await removePlace(place);
	});

	test(`${kind}: a detach that hangs says where, and has worked once it ends`, async (t) => {
		const place = await makePlace(kind);
		const server = await startDeviceServer({ ...place, detachTimeout: 1500 });
		for (const { call, nth, error: expected } of steps[kind]) {
			const device = await attach(server);
			const errors: string[] = [];
			const { failed } = await withFault(place, { call, when: String(nth), hangs: 4000 }, async () => {
				while (!(await device.detach().then(() => true, (error: unknown) => void errors.push((error as Error).message))));
			});
			t.true(failed.length > 0, `${call} ${nth} was never called`);
			t.true(errors.length > 0, failed.join(', '));
			for (const error of errors) {
				t.true(error.startsWith(`${device.path} cannot be detached: `) && error.endsWith(' has not ended for 2 s'), error);
				t.regex(error, hangingStep(expected), failed.join(', '));
			}
			t.deepEqual(await kernelObjects(), [], failed.join(', '));
		}
		await server.close();
		t.deepEqual(await allLeftovers(place), []);
		await removePlace(place);
	});

	test(`${kind}: a device server that is stopped keeps nobody waiting for ever`, async (t) => {
		const place = await makePlace(kind);
		const server = await startDeviceServer({ ...place, detachTimeout: 1000 });
		const device = await attach(server);
		const stopped = await stopServer(place);
		const error = await device.detach().then(() => '', (failure: unknown) => (failure as Error).message);
		t.regex(error, new RegExp(`^${device.path} cannot be detached: the device server \\(process ${stopped}\\) has not answered for \\d+ s$`));
		process.kill(stopped, 'SIGCONT');
		await t.notThrowsAsync(device.detach());
		t.deepEqual(await kernelObjects(), []);

		const other = await attach(server);
		await makeFileSystem(other.path);
		await mount(other.path, place.mountPoint, 'ext4', buildMountOptions(true));
		await stopServer(place);
		await server.close();
		t.deepEqual(await allLeftovers(place), []);
		await removePlace(place);
	});

	test(`${kind}: what a failed detach has left goes when the server ends`, async (t) => {
		for (const { call, nth } of steps[kind]) {
			const place = await makePlace(kind);
			const server = await startDeviceServer(place);
			const device = await attach(server);
			const { failed } = await withFault(place, { call, when: `${nth}+` }, async () => {
				await device.detach().catch(() => undefined);
				await server.close(); // it fails at the same step again, and its end too
			});
			t.true(failed.length > 1, `${call} ${nth}: ${failed.join(', ')}`);
			t.deepEqual(await allLeftovers(place), [], failed.join(', '));
			await removePlace(place);
		}
	});
}
