// obd-image doctor, obd-build --version -v: what this host has for running and building images, and what it lacks.
import { probeDevices, type DeviceKind, type DeviceProbe } from '../device/index.js';

const descriptions: Readonly<Record<DeviceKind, string>> = {
	ublk: '/dev/ublkbN, through io_uring (Linux 6.0, module ublk_drv)',
	tcmu: '/dev/sdX, a SCSI disk through TCMU (modules target_core_user, tcm_loop)',
	fuse: '/dev/loopN, a loop device on a FUSE file',
};

/** Prints which device servers work here. True when there is one. */
export async function doctor(): Promise<boolean> {
	const probes = await probeDevices();
	console.log(formatProbes(probes));
	return probes.some(({ missing }) => missing === undefined);
}

/** @param probes in the order of preference */
export function formatProbes(probes: readonly DeviceProbe[]): string {
	const chosen = probes.find(({ missing }) => missing === undefined);
	return ['Device servers, the fastest first:', ...probes.map((probe) => {
		const state = probe.missing === undefined ? `works${probe === chosen ? ': what --device auto takes' : ''}` : `cannot be used: ${probe.missing}`;
		return `  ${probe.kind}  ${descriptions[probe.kind]}\n        ${state}`;
	})].join('\n');
}
