// How a failed process is reported, with BuildKit's words.
import { goQuote } from './go-quote.js';

/** `process "/bin/sh -c false" did not complete successfully: exit code: 1` */
export class ExitError extends Error {
	override readonly name = 'ExitError';
	/** As a shell shows it: 128 + n for a process ended by signal n. */
	readonly exitCode: number;
	/** The signal the exit code stands for, if any. */
	readonly signal: number | undefined;
	/** The kernel ran out of memory and killed something while the process ran, and the process died of SIGKILL. */
	readonly oomKilled: boolean;

	constructor(args: readonly string[], exit: { readonly exitCode: number; readonly oomKilled: boolean }) {
		super(failureText(args, exit.oomKilled ? 'cannot allocate memory' : `exit code: ${exit.exitCode}`));
		this.exitCode = exit.exitCode;
		this.signal = exit.exitCode > 128 && exit.exitCode <= 128 + 64 ? exit.exitCode - 128 : undefined;
		this.oomKilled = exit.oomKilled;
	}
}

/** The message of a process that failed, or could not even be started, because of `cause`. */
export function failureText(args: readonly string[], cause: string): string {
	return `process ${goQuote(args.join(' '))} did not complete successfully: ${cause}`;
}
