package container

import "context"

// kill kills a container and waits until nobody holds its lock.
func (m *Manager) kill(ctx context.Context, c *Config) error { return nil }
