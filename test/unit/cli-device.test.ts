// Which device server the command line and the configuration file ask for.
import { readFile } from 'node:fs/promises';
import test from 'ava';
import { deviceChoice } from '../../src/cli/device-choice.js';
import { obdVersion } from '../../src/cli/version.js';

test('the command line goes before the configuration file, which goes before auto', (t) => {
	t.is(deviceChoice('fuse', 'tcmu'), 'fuse');
	t.is(deviceChoice(undefined, 'tcmu'), 'tcmu');
	t.is(deviceChoice(undefined, undefined), 'auto');
	t.throws(() => deviceChoice(undefined, 'nbd'), { message: 'worker.oci.device in the configuration file must be one of auto, ublk, tcmu, fuse, not "nbd"' });
});

test('the version is that of the package', async (t) => {
	const { version } = JSON.parse(await readFile('package.json', 'utf8')) as { version: string };
	t.is(obdVersion, version);
});
