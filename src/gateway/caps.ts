// What this builder says it can do. Clients refuse by themselves to ask for more.
import { capabilities } from '../llb/index.js';
import type { APICap } from './gen/caps.js';

const frontendApi = [
	'solve.base', 'solve.inlinereturn', 'resolveimage', 'resolveimage.resolvemode', 'readfile', 'return', 'returnmap', 'readdir', 'statfile',
	'importcaches', 'proto.refarray', 'reference.output', 'frontend.inputs', 'gateway.solve.metadata', 'gateway.exec', 'gateway.exec.extrahosts',
	'gateway.exec.secretenv', 'gateway.exec.signals', 'gateway.exec.filesystem', 'frontend.caps', 'gateway.solve.evaluate', 'gateway.evaluate',
	'gateway.warnings', 'reference.attestations', 'source.metaresolver',
];

/** Beside operations: what clients look for here. */
const others = ['source.policy', 'gc.freespacefilter', 'history.filter'];

function enabled(ids: readonly string[]): APICap[] {
	return ids.map((ID) => ({ ID, Enabled: true, Deprecated: false, DisabledReason: '', DisabledReasonMsg: '', DisabledAlternative: '' }));
}

/** Calls of LLBBridge. */
export const frontendApiCaps: readonly APICap[] = enabled(frontendApi);

/** Operations and their attributes, exporters, clean-up filters. */
export const llbCaps: readonly APICap[] = enabled([...capabilities, ...others]);
