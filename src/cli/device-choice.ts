// The words of --device and of `device` in the configuration file.
import type { DeviceChoice } from '../device/index.js';

export const deviceChoices: readonly DeviceChoice[] = ['auto', 'ublk', 'tcmu', 'fuse'];

export const deviceFlagHelp = 'How the kernel reaches the disks: the fastest way this host has, or a certain one';

/**
 * The device server of the command line, else of the configuration file, else `auto`.
 * @param given --device, if it was there
 * @param configured `device` of `[worker.oci]`, which nobody has looked at yet
 */
export function deviceChoice(given: string | undefined, configured: string | undefined): DeviceChoice {
	const [word, from] = given !== undefined ? [given, '--device'] : [configured ?? 'auto', 'worker.oci.device in the configuration file'];
	const choice = deviceChoices.find((candidate) => candidate === word);
	if (choice === undefined) throw new Error(`${from} must be one of ${deviceChoices.join(', ')}, not ${JSON.stringify(word)}`);
	return choice;
}
