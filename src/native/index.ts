// The native addon, loaded once, behind typed faces: one file a native room (files.ts, layers.ts,
// device.ts, system.ts) gives the functions of that room their types and docs.
import { createRequire } from 'node:module';
import { fileURLToPath } from 'node:url';
import path from 'node:path';

const here = path.dirname(fileURLToPath(import.meta.url));

/** Finds `native/build/<variant>/obd.node` from the compiled (`dist/src/native`) or the source tree. */
function load(): unknown {
	const variant = process.env['OBD_ADDON_VARIANT'] ?? 'release';
	const root = here.includes(`${path.sep}dist${path.sep}`) ? path.resolve(here, '../../..') : path.resolve(here, '../..');
	return createRequire(import.meta.url)(path.join(root, 'native/build', variant, 'obd.node'));
}

let addon: unknown;

/** The addon's exports; each room's typed face casts them once. Loading is deferred to the first call. */
export function nativeAddon(): unknown {
	addon ??= load();
	return addon;
}
