// Taking a device away fails at any step of it: the caller is told which, and what stays goes with the
// next try, or else with the server.
import test from 'ava';
import { startDeviceServer, type Device, type DeviceKind, type DeviceServer } from '../../src/device/index.js';
import { makePlace, removePlace } from '../integration/helpers/device.js';
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
