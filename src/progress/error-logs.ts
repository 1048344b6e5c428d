// The block at the end of a failed build: the last words of the vertices that failed.
import type { Trace } from './trace.js';

export function errorLogs(trace: Trace): Buffer {
	const failed = trace.shown.filter((vertex) => vertex.error !== '' && !vertex.canceled);
	return Buffer.concat(failed.flatMap((vertex) => [
		Buffer.from(`------\n > ${vertex.name}:\n`),
		...vertex.lines.flatMap(({ text }) => [text, Buffer.from('\n')]),
		Buffer.from('------\n'),
	]));
}
