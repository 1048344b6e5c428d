// --secret and --ssh: what the build may borrow from its client.
import { statSync } from 'node:fs';
import type { SecretRequest } from '../../builder/index.js';
import { csvFields } from '../../../frontend/text/csv.js';

type Environment = Readonly<Record<string, string | undefined>>;

const maxSecretBytes = 500 * 1024;

/** Secrets by id. A file has to exist and be small; without source or env the id names a variable or a file. */
export function parseSecrets(values: readonly string[], env: Environment): Readonly<Record<string, SecretRequest>> {
	return Object.fromEntries(values.filter((value) => value !== '').map((value) => {
		const { id, file, variable } = secretFields(value);
		if (id === '') throw new Error('secret missing ID');
		if (variable !== '' && file === '') return [id, { env: variable }];
		if (file === '' && env[id] !== undefined) return [id, { env: id }];
		return [id, { file: checkedFile(id, file === '' ? id : file) }];
	}));
}

function secretFields(value: string): { readonly id: string; readonly file: string; readonly variable: string } {
	let [type, id, file, variable] = ['', '', '', ''];
	for (const field of csvFields(value)) {
		const equals = field.indexOf('=');
		if (equals < 0) throw new Error(`invalid field '${field}' must be a key=value pair`);
		const key = field.slice(0, equals).toLowerCase();
		const text = field.slice(equals + 1);
		switch (key) {
			case 'type':
				if (text !== 'file' && text !== 'env') throw new Error(`unsupported secret type ${JSON.stringify(text)}`);
				type = text;
				break;
			case 'id': id = text; break;
			case 'source':
			case 'src': file = text; break;
			case 'env': variable = text; break;
			default: throw new Error(`unexpected key '${key}' in '${field}'`);
		}
	}
	return type === 'env' && variable === '' ? { id, file: '', variable: file } : { id, file, variable };
}

function checkedFile(id: string, file: string): string {
	let size: number;
	try {
		({ size } = statSync(file));
	} catch (error) {
		const reason = (error as NodeJS.ErrnoException).code === 'ENOENT' ? 'no such file or directory' : (error as Error).message;
		throw new Error(`failed to stat ${file}: stat ${file}: ${reason}`, { cause: error });
	}
	if (size > maxSecretBytes) throw new Error(`secret ${id} too big. max size 500KB`);
	return file;
}

/** Agent sockets or key files by id: `default`, `id=socket`, `id=key,key`. */
export function parseSsh(values: readonly string[], env: Environment): Readonly<Record<string, readonly string[]>> {
	const agents: Record<string, readonly string[]> = {};
	for (const value of values.filter((one) => one !== '')) {
		const equals = value.indexOf('=');
		const id = (equals < 0 ? value : value.slice(0, equals)) || 'default';
		const paths = equals < 0 ? [] : value.slice(equals + 1).split(',').filter((path) => path !== '');
		if (agents[id]) throw new Error(`duplicate agent ID ${JSON.stringify(id)}`);
		const agent = env['SSH_AUTH_SOCK'];
		if (paths.length === 0 && !agent) throw new Error(`--ssh ${value}: invalid empty ssh agent socket: make sure SSH_AUTH_SOCK is set`);
		agents[id] = paths.length > 0 ? paths : [agent ?? ''];
	}
	return agents;
}
