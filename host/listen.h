/* SPDX-License-Identifier: MIT */
/* Descriptors that a service manager opened for us (sd_listen_fds(3)). */
#ifndef LISTEN_H
#define LISTEN_H

/* All of it on the main thread, before anything is opened.
 *
 * In main(), once descriptors are known: reads the variables, and takes them
 * out of the environment, which children inherit. 0 or -EINVAL (said). */
int listen_early(void);

/* The next one of this name, which is the caller's then; -ENOENT: there is
 * none. Of "tap:NAME" the name is all of it. */
int listen_take(const char *name);
/* The same for a stream socket that is listened at, made not to wait; -EINVAL
 * (said, beginning with `what`): it is none. */
int listen_socket(const char *what, const char *name);

/* A stream socket that is listened at, by its number, made not to wait; -EINVAL
 * (said, beginning with `what`): it is none. */
int listen_given(const char *what, const char *number);

/* All who may take one have. 0, or -EINVAL (said): one is left. */
int listen_check_rest(void);

#endif
