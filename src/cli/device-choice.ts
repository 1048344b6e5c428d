// The words of --device.
import type { DeviceChoice } from '../device/index.js';

export const deviceChoices: readonly DeviceChoice[] = ['auto', 'ublk', 'tcmu', 'fuse'];

export const deviceFlagHelp = 'How the kernel reaches the disks: the fastest way this host has, or a certain one';

/** For a value that was checked already. */
export function deviceChoice(word: string): DeviceChoice {
	const choice = deviceChoices.find((candidate) => candidate === word);
	if (choice === undefined) throw new Error(`no device server is called ${word}`);
	return choice;
}
