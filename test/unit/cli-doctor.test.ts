// What obd-image doctor prints.
import test from 'ava';
import { formatProbes } from '../../src/cli/doctor.js';

test('the first server that works is what auto takes; the others say what they lack', (t) => {
	const lines = formatProbes([
		{ kind: 'ublk', missing: 'the kernel module ublk_drv is missing' },
		{ kind: 'tcmu' },
		{ kind: 'fuse' },
	]).split('\n').map((line) => line.trim());
	t.deepEqual([lines[2], lines[4], lines[6]], ['cannot be used: the kernel module ublk_drv is missing', 'works: what --device auto takes', 'works']);
});
