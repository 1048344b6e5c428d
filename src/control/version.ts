// What the daemon says it is. Clients compare the version with what they need: it is that of the BuildKit whose
// services these are.
import { BuildkitVersion } from '../gateway/index.js';

export const version: BuildkitVersion = {
	package: 'obd',
	version: 'v0.27.0',
	revision: '',
	dockerfileVersion: '1.20',
};
