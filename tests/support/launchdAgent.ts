/** What an agent of launchd may say, as far as this program uses it: launchd.plist(5). Unknown keys are refused. */
import { z } from 'zod'

const absolutePath = z.string().regex(/^\/[^{}]*$/, 'is not an absolute path')

/** launchd passes an argument as it is: no shell, no ~, no variable. */
const argument = z.string().regex(/^[^~${}][^${}]*$/, 'a shell would have to expand this')

export const launchdAgent = z.strictObject({
  Label: z.string().regex(/^[A-Za-z0-9-]+(\.[A-Za-z0-9-]+)+$/),
  ProgramArguments: z.tuple([absolutePath], argument).refine((words) => words.length > 1, 'names no program'),
  EnvironmentVariables: z
    .record(z.string(), z.string())
    .refine(
      ({ PATH = '' }) => PATH.split(':').every((folder) => absolutePath.safeParse(folder).success),
      'PATH: launchd has no useful one of its own, and expands nothing',
    ),
  RunAtLoad: z.boolean(),
  /** `true` would start it again after an orderly stop as well. */
  KeepAlive: z.strictObject({ SuccessfulExit: z.boolean() }),
  ThrottleInterval: z.int().min(1),
  /** 0 would mean never to kill. */
  ExitTimeOut: z.int().min(1),
  /** A string would be read as octal by newer systems only. */
  Umask: z.int().min(0).max(0o777),
  StandardOutPath: absolutePath,
  StandardErrorPath: absolutePath,
})
