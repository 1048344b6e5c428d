#!/usr/bin/env node
// obd-image: for those who hold images and layers. Parses, calls, prints.
import yargs from 'yargs';
import { hideBin } from 'yargs/helpers';
import { flatten, inspectLayer } from '../native/layers.js';
import { parseLayer } from './layer-args.js';
import { formatBytes, formatLayerReport } from './layer-report.js';

/** Exit codes: 0 all well, 1 failed or problems found, 2 wrong usage. */
const FAILED = 1;
const USAGE = 2;

async function inspect(names: readonly string[], json: boolean): Promise<void> {
	const reports = [];
	for (const name of names) {
		const report = await inspectLayer(await parseLayer(name));
		if (report.problems.length > 0) process.exitCode = FAILED;
		if (json) reports.push({ name, ...report });
		else console.log(formatLayerReport(name, report));
	}
	if (json) console.log(JSON.stringify(reports, null, 2));
}

async function flattenTo(names: readonly string[], output: string): Promise<void> {
	const layers = await Promise.all(names.map(parseLayer));
	const result = await flatten(layers, output);
	console.log(`${output}: disk of ${formatBytes(result.size)}, ${formatBytes(result.written)} written`);
}

await yargs(hideBin(process.argv))
	.scriptName('obd-image')
	.usage('$0 COMMAND\n\nLooks into overlaybd images and layers, and takes them apart.')
	.command('inspect <file..>', 'show headers, segments and uuids of layer files, and check every checksum', (y) => y
		.positional('file', { type: 'string', array: true, demandOption: true, describe: 'a layer blob, or DATA:INDEX of a writable layer' })
		.option('json', { type: 'boolean', default: false, describe: 'print a JSON array, one report a file' }),
	(argv) => inspect(argv.file, argv.json))
	.command('flatten <layer..>', 'write the virtual disk of a stack of layers as a sparse raw file', (y) => y
		.positional('layer', { type: 'string', array: true, demandOption: true, describe: 'layer blobs, bottom first; DATA:INDEX for a writable layer' })
		.option('output', { alias: 'o', type: 'string', demandOption: true, requiresArg: true, describe: 'the disk; replaced when it exists' }),
	(argv) => flattenTo(argv.layer, argv.output))
	.demandCommand(1, 'Which command?')
	.strict()
	.fail((message, error) => {
		console.error(`obd-image: ${error ? error.message : message}`);
		if (!error) console.error('Try obd-image --help');
		process.exit(error ? FAILED : USAGE);
	})
	.parseAsync();
